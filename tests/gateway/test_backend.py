"""What a service tells of its backends: why one serves, what was timed, and what workers say of themselves."""

from __future__ import annotations

import os
from typing import Any

import pytest
from structlog.testing import capture_logs

from swin_gateway.model import ServedModel
from swin_proto.v1.classifier_pb2 import BackendTiming, GetModelRequest
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from swin_proto.worker.v1.job_pb2 import Answer, Job

from .assembly import PNG, Gateway, answer_to, call, gateway
from .samples import TIMED, archive_of, engine_record

DIGITS = {"model": "digits", "version": "1.0"}
FASTEST = "fastest of native, eager in each batch bucket when the archive was built, on"
CUDA = {"device": "cuda", "hardware": "NVIDIA H200", "torch": "2.11.0", "threads": 8}
ONE_THREAD = {"device": "cpu", "hardware": "an old CPU", "torch": "2.11.0", "threads": 1}
NOTE = "it was tuned elsewhere (threads 4, here 2)"


def answer(**changes: Any) -> Answer:
    return answer_to(Job(images=[b"one"], top_k=1), **changes)


def reason(model: ServedModel) -> str:
    return model.describe(["1.0"]).backend_reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "native"}, "the archive asks for it"),
        ({"backend": "auto"}, "the safe default of this machine; nothing was timed: swinserve tune digits"),
        (
            {"backend": "auto", "engine": engine_record(refused={"native": "no window of its own"})},
            "the first that could be used; nothing was timed: swinserve tune digits; not native: no window of its own",
        ),
        (
            {"backend": "auto", "engine": engine_record(**TIMED)},
            f"{FASTEST} 2 threads of a CPU with avx2",
        ),
        (
            {"backend": "auto", "engine": engine_record(**TIMED, refused={"openvino": "is not installed"})},
            f"{FASTEST} 2 threads of a CPU with avx2; not openvino: is not installed",
        ),
        (
            {"backend": "auto", "engine": engine_record(**TIMED, machine=CUDA)},
            f"{FASTEST} NVIDIA H200",
        ),
        (
            {"backend": "auto", "engine": engine_record(**TIMED, machine=ONE_THREAD)},
            f"{FASTEST} 1 thread of an old CPU",
        ),
    ],
)
async def test_why_a_backend_serves_is_said_once_a_worker_has_answered(changes: dict[str, Any], said: str) -> None:
    model = gateway([archive_of(**changes)]).model
    assert reason(model) == ""
    model.take(answer())
    assert reason(model) == said
    model.take(answer(engine_note=NOTE))
    assert reason(model) == f"a safe default: {NOTE}"
    model.take(answer())
    assert reason(model) == said


async def test_both_protocols_tell_what_was_timed_and_what_was_chosen() -> None:
    served = gateway([archive_of(engine=engine_record(**TIMED)), archive_of("untimed")])
    async with served.grpc() as channel:
        stub = ClassifierStub(channel)
        timed, untimed = [await stub.GetModel(GetModelRequest(model=name)) for name in ("digits", "untimed")]
    async with served.rest() as client:
        described = (await client.get("/v1/models/digits")).json()
        listed = (await client.get("/v1/models")).json()["models"]
    first, *others = timed.backend_timings
    assert first == BackendTiming(
        backend="native", batch_bucket=1, best_seconds=0.004, median_seconds=0.008, relative_l2=1e-6, chosen=True
    )
    assert [(each.backend, each.batch_bucket, each.chosen) for each in others] == [
        ("eager", 1, False),
        ("native", 2, False),
        ("eager", 2, True),
    ]
    assert not untimed.backend_timings
    assert [BackendTiming(**each) for each in described["backend_timings"]] == [first, *others]
    assert set(described["backend_timings"][1]) == {field.name for field in BackendTiming.DESCRIPTOR.fields}
    assert [model["backend_timings"] for model in listed] == [described["backend_timings"], []]


async def test_while_a_safe_default_serves_nothing_of_what_was_timed_is_chosen() -> None:
    model = gateway([archive_of(engine=engine_record(**TIMED))]).model

    def chosen() -> list[bool]:
        return [timing.chosen for timing in model.describe(["1.0"]).backend_timings]

    for note, expected in (("", [True, False, False, True]), (NOTE, [False] * 4), ("", [True, False, False, True])):
        model.take(answer(engine_note=note))
        assert chosen() == expected


def compiles(served: Gateway) -> float | None:
    return served.metrics.registry.get_sample_value("swinserve_compile_events_total", DIGITS)


def fallback(served: Gateway) -> float | None:
    return served.metrics.registry.get_sample_value("swinserve_engine_fallback", DIGITS)


async def test_both_series_are_there_at_zero_before_any_answer_and_stay_so(served: Gateway) -> None:
    assert (compiles(served), fallback(served)) == (0, 0)
    with capture_logs() as logs:
        await served.classifier.classify(call())
    assert (compiles(served), fallback(served), logs) == (0, 0, [])


async def test_what_each_worker_compiled_is_added_up_once(served: Gateway) -> None:
    # Every image of a batch tells it again, and an answer may be overtaken by the next batch's.
    for pid, told, total in ((1, 2, 2), (1, 2, 2), (2, 0, 2), (2, 1, 3), (1, 5, 6), (1, 2, 6), (1, 5, 6), (1, 6, 7)):
        served.model.take(answer(worker_pid=pid, compiles=told))
        assert compiles(served) == total


async def test_a_worker_in_the_place_of_a_dead_one_counts_from_nothing(served: Gateway, dead_pid: int) -> None:
    own = os.getpid()
    for pid in (own, dead_pid):
        served.model.take(answer(worker_pid=pid, compiles=3, engine_note=NOTE))
    served.model.workers.forget_dead()
    assert set(served.model.workers.compiles) == set(served.model.workers.notes) == {own}
    for pid in (own, dead_pid):  # the kernel has given the pid away again
        served.model.take(answer(worker_pid=pid, compiles=3))
    assert compiles(served) == 9


async def test_the_gauge_says_whether_the_last_worker_that_answered_runs_on_a_safe_default(served: Gateway) -> None:
    for note, value in ((NOTE, 1), (NOTE, 1), ("", 0), ("another", 1)):
        served.model.take(answer(engine_note=note))
        assert fallback(served) == value


async def test_a_note_is_logged_once_when_it_is_new(served: Gateway) -> None:
    with capture_logs() as logs:
        for pid, note in ((1, ""), (1, NOTE), (1, NOTE), (2, NOTE), (3, ""), (1, NOTE), (2, "another"), (1, NOTE)):
            served.model.take(answer(worker_pid=pid, engine_note=note))
    assert [entry["why"] for entry in logs] == [NOTE, "another"]
    assert logs[0] == {
        "event": "a safe default serves",
        "log_level": "warning",
        "model": "digits@1.0",
        "backend": "eager",
        "why": NOTE,
    }


async def test_a_canary_brings_a_workers_word_too(served: Gateway) -> None:
    served.workers.reply = lambda job: answer_to(job, engine_note=NOTE, compiles=1)
    with capture_logs() as logs:
        await served.classifier.canary(served.model, PNG)
    assert [entry["event"] for entry in logs] == ["a safe default serves"]
    assert (compiles(served), fallback(served)) == (1, 1)
