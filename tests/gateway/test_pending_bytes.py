from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from swin_gateway.errors import Overloaded
from swin_gateway.pending_bytes import PendingBytes
from swin_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyStreamRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .assembly import PNG, gateway, until
from .samples import encoded

LARGE = encoded("PNG") + bytes(30_000)
"""A good image with much behind it."""


def test_what_a_call_held_is_given_back_when_it_ends_however_it_ends() -> None:
    pending = PendingBytes(100)
    with contextlib.suppress(KeyError), pending.holding("a") as holding:
        holding.add(10)
        holding.add(20)
        assert pending.total == 30
        raise KeyError
    assert pending.total == 0
    with pending.holding("a") as holding:
        holding.add(75)


def test_more_than_fits_is_refused_and_not_counted() -> None:
    pending = PendingBytes(100)
    with pending.holding("a") as holding:
        holding.add(40)
        with pytest.raises(Overloaded, match="40") as refusal:
            holding.add(61)
        assert refusal.value.retry_after
        assert pending.total == 40


def test_one_caller_leaves_room_for_others() -> None:
    pending = PendingBytes(100)
    pending.take("greedy", 75)
    with pytest.raises(Overloaded):
        pending.take("greedy", 1)
    pending.take("modest", 18)
    with pytest.raises(Overloaded):
        pending.take("modest", 1)  # three times what it leaves free
    pending.take("third", 5)
    assert pending.total == 98


async def test_a_stream_waits_for_room() -> None:
    pending = PendingBytes(100)
    pending.take("a", 60)
    waiting = asyncio.create_task(pending.take_when_room("a", 30))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    pending.give("a", 10)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    pending.give("a", 10)
    await waiting
    assert pending.total == 70


async def test_bodies_that_wait_for_an_answer_are_bounded_over_rest() -> None:
    crowded = gateway(max_pending_bytes=120_000)  # two large images of one caller fit, a third does not
    crowded.workers.gate.clear()
    async with crowded.rest() as client:
        calls = [asyncio.create_task(client.post("/v1/classify", content=LARGE)) for _ in range(2)]
        await until(lambda: len(crowded.workers.jobs) == 2)
        assert crowded.classifier.pending.total == 2 * len(LARGE)
        refused = await client.post("/v1/classify", content=LARGE)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (429, "OVERLOADED")
        assert refused.headers["retry-after"] == "1"
        small = asyncio.create_task(client.post("/v1/classify", content=PNG))
        await until(lambda: len(crowded.workers.jobs) == 3)
        crowded.workers.gate.set()
        assert [(await call).status_code for call in (*calls, small)] == [200, 200, 200]
    assert crowded.classifier.pending.total == 0


async def test_messages_that_wait_for_an_answer_are_bounded_over_grpc() -> None:
    crowded = gateway(max_pending_bytes=120_000)
    crowded.workers.gate.clear()
    request = ClassifyRequest(images=[Image(content=LARGE)])
    async with crowded.grpc() as channel:
        stub = ClassifierStub(channel)
        calls = [asyncio.ensure_future(stub.Classify(request)) for _ in range(2)]
        await until(lambda: len(crowded.workers.jobs) == 2)
        with pytest.raises(grpc.aio.AioRpcError, match="too many bytes") as refusal:
            await stub.Classify(request)
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        crowded.workers.gate.set()
        assert [len((await call).results) for call in calls] == [1, 1]
    assert crowded.classifier.pending.total == 0


async def test_a_stream_is_held_back_at_the_bound_and_loses_nothing() -> None:
    crowded = gateway(max_pending_bytes=120_000)
    crowded.workers.gate.clear()
    sent = 0

    async def images() -> AsyncIterator[ClassifyStreamRequest]:
        nonlocal sent
        for number in range(6):
            yield ClassifyStreamRequest(id=str(number), image=Image(content=LARGE))
            sent += 1

    async with crowded.grpc() as channel:
        call = ClassifierStub(channel).ClassifyStream(images())
        answers: list[str] = []

        async def collect() -> None:
            answers.extend([answer.id async for answer in call])

        collecting = asyncio.create_task(collect())
        await until(lambda: len(crowded.workers.jobs) == 2)
        with contextlib.suppress(TimeoutError):
            await until(lambda: len(crowded.workers.jobs) > 2, timeout=0.2)
        assert crowded.classifier.pending.total <= 120_000 * 3 / 4
        crowded.workers.gate.set()
        await collecting
    assert sorted(answers) == [str(number) for number in range(6)]
    assert crowded.classifier.pending.total == 0
