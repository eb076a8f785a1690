from __future__ import annotations

import asyncio
import io
import os
import time

import pytest
from PIL import Image
from structlog.testing import capture_logs

from swin_gateway import readiness
from swin_gateway.errors import Undecodable
from swin_gateway.model import STALE_SECONDS, alive
from swin_gateway.readiness import CANARY, CANARY_AFTER_SECONDS
from swin_proto.worker.v1.job_pb2 import Error

from .assembly import Gateway, answer_to, call, error_to, gateway, until
from .samples import archive_of


@pytest.fixture
async def starting() -> Gateway:
    served = gateway(loaded=False)
    served.workers.gate.clear()
    return served


def silent_for(served: Gateway, seconds: float) -> None:
    served.model.workers.answered_at = {os.getpid(): time.monotonic() - seconds}


async def test_nothing_is_ready_before_a_worker_has_answered_a_forward_pass(starting: Gateway) -> None:
    await starting.readiness.look()
    assert not starting.readiness.ready
    assert not starting.readiness.became_ready.is_set()
    assert starting.value("ready") == 0
    assert starting.value("model_ready", model="digits", version="1.0") == 0


async def test_a_start_sends_one_canary_and_is_ready_at_its_answer(starting: Gateway) -> None:
    for _ in range(3):
        await starting.readiness.look()
        await asyncio.sleep(0)
    assert len(starting.workers.jobs) == 1
    assert list(starting.workers.jobs[0].images) == [CANARY]
    starting.workers.gate.set()
    await until(lambda: starting.model.workers.ready)
    await starting.readiness.look()
    assert starting.readiness.ready
    assert starting.readiness.became_ready.is_set()
    assert starting.value("ready") == 1
    assert starting.value("model_ready", model="digits", version="1.0") == 1


async def test_every_model_has_to_answer() -> None:
    served = gateway([archive_of("a"), archive_of("b")], loaded=False)
    served.workers.gate.clear()
    served.models[0].workers.answered(os.getpid())
    await served.readiness.look()
    assert not served.readiness.ready
    served.models[1].workers.answered(os.getpid())
    await served.readiness.look()
    assert served.readiness.ready


async def test_a_worker_that_died_makes_it_unready_at_the_next_look(served: Gateway, dead_pid: int) -> None:
    served.model.workers.answered_at = {dead_pid: time.monotonic()}
    served.workers.gate.clear()
    await served.readiness.look()
    assert not served.readiness.ready
    assert served.model.workers.loaded  # its work waits for the worker's successor


async def test_another_worker_that_lives_keeps_it_ready(served: Gateway, dead_pid: int) -> None:
    served.model.workers.answered_at = {dead_pid: time.monotonic(), os.getpid(): time.monotonic() - 1}
    await served.readiness.look()
    assert served.readiness.ready


async def test_a_worker_that_has_been_silent_too_long_is_not_counted_on(served: Gateway) -> None:
    served.workers.gate.clear()
    silent_for(served, STALE_SECONDS + 0.1)
    await served.readiness.look()
    assert not served.readiness.ready


async def test_a_canary_is_sent_to_an_idle_model_and_keeps_it_ready(served: Gateway) -> None:
    silent_for(served, CANARY_AFTER_SECONDS + 0.1)
    await served.readiness.look()
    assert served.readiness.ready
    await until(lambda: served.workers.finished == 1)
    assert served.model.workers.idle_seconds < 1


async def test_no_canary_is_sent_while_answers_are_recent(served: Gateway) -> None:
    silent_for(served, CANARY_AFTER_SECONDS / 2)
    await served.readiness.look()
    await asyncio.sleep(0.01)
    assert not served.workers.jobs


async def test_no_canary_is_sent_while_images_are_dispatched(served: Gateway) -> None:
    served.workers.gate.clear()
    work = asyncio.create_task(served.classifier.classify(call()))
    await until(lambda: served.model.admission.dispatched)
    silent_for(served, CANARY_AFTER_SECONDS + 0.1)
    await served.readiness.look()
    await asyncio.sleep(0.01)
    assert len(served.workers.jobs) == 1
    served.workers.gate.set()
    await work


async def test_a_load_of_nothing_but_bad_images_does_not_make_it_unready(served: Gateway) -> None:
    served.workers.reply = lambda job: (
        answer_to(job) if job.request_id == "canary" else error_to(job, Error.UNDECODABLE)
    )
    (place,) = served.model.admission.admit(1, caller="a")
    never = asyncio.Event()
    busy = asyncio.create_task(served.model.admission.run(place, never.wait, deadline=time.monotonic() + 60))
    silent_for(served, STALE_SECONDS - 0.05)
    for _ in range(10):
        with pytest.raises(Undecodable):
            await served.classifier.classify(call())
        await served.readiness.look()
        await asyncio.sleep(0.01)
    assert served.readiness.ready
    never.set()
    await busy


async def test_a_canary_that_fails_is_repeated(starting: Gateway) -> None:
    starting.workers.gate.set()
    starting.workers.reply = lambda job: error_to(job, Error.INTERNAL, "sticky")
    with capture_logs():
        for tries in (1, 2):
            await starting.readiness.look()
            await until(lambda: starting.workers.finished == tries)  # noqa: B023 - awaited at once
            await asyncio.sleep(0)
    assert not starting.readiness.ready


async def test_closing_is_not_ready_and_stays_so(served: Gateway) -> None:
    await served.readiness.look()
    await served.readiness.close()
    assert not served.readiness.ready
    await served.readiness.look()
    assert not served.readiness.ready
    assert served.value("ready") == 0
    assert served.value("model_ready", model="digits", version="1.0") == 1


async def test_a_change_is_logged_once_with_what_is_waited_for(starting: Gateway) -> None:
    with capture_logs() as logs:
        await starting.readiness.look()
        starting.model.workers.answered(os.getpid())
        await starting.readiness.look()
        await starting.readiness.look()
        silent_for(starting, STALE_SECONDS + 1)
        await starting.readiness.look()
    assert [(entry["event"], entry["waiting_for"]) for entry in logs] == [("ready", []), ("not ready", ["digits"])]


async def test_watch_looks_again_and_again_and_ends_its_canaries(
    starting: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TICK_SECONDS", 0.005)
    watching = asyncio.create_task(starting.readiness.watch())
    await until(lambda: starting.workers.jobs)
    starting.model.workers.answered(os.getpid())
    await asyncio.wait_for(starting.readiness.became_ready.wait(), 2)
    watching.cancel()
    await asyncio.wait([watching])
    await until(lambda: starting.workers.finished == 1)


def test_the_canary_is_an_image() -> None:
    with Image.open(io.BytesIO(CANARY)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (8, 8))


def test_a_process_of_another_user_counts_as_alive(monkeypatch: pytest.MonkeyPatch, dead_pid: int) -> None:
    assert alive(os.getpid())
    assert not alive(dead_pid)

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert alive(1)
