"""What streams hold of messages that are not yet counted as pending: the real server, and silent or greedy clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio

from swin_gateway.access import EVERYBODY
from swin_gateway.calls import Served
from swin_gateway.grpc_api import STREAM_WINDOW, ImageStream
from swin_proto.v1.classifier_pb2 import ClassifyStreamRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .assembly import MAX_MESSAGE_BYTES, PNG, gateway, until
from .test_pending_bytes import LARGE


async def silent(stream: Any) -> None:
    """Opens it and has an image answered, so that it is the next one that does not come."""
    await stream.write(ClassifyStreamRequest(id="first", image=Image(content=PNG)))
    assert (await stream.read()).id == "first"


async def test_only_so_many_streams_may_be_silent_for_long_and_those_live_on() -> None:
    """Any of them may have all but the end of a message there, and gRPC says of none how much it is."""
    served = gateway(silent_seconds=1.0, max_pending_bytes=3 * MAX_MESSAGE_BYTES)  # two fit: one leaves room for others
    async with served.grpc() as channel:
        streams = [ClassifierStub(channel).ClassifyStream() for _ in range(2)]
        for stream in streams:
            await silent(stream)
        await until(lambda: served.classifier.streams.beside.total == 2 * MAX_MESSAGE_BYTES)
        for _ in range(3):
            another = ClassifierStub(channel).ClassifyStream()
            await silent(another)
            assert await another.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for stream in streams:
            await silent(stream)
            await stream.done_writing()
            assert await stream.code() is grpc.StatusCode.OK
    assert served.classifier.streams.beside.total == 0


async def test_messages_that_wait_for_room_are_bounded_and_what_was_read_is_answered() -> None:
    crowded = gateway(max_pending_bytes=120_000)
    crowded.workers.gate.clear()
    image = ClassifyStreamRequest(id="1", image=Image(content=LARGE))
    async with crowded.grpc() as channel:
        streams = [ClassifierStub(channel).ClassifyStream() for _ in range(8)]
        for stream in streams:
            await stream.write(image)
            await stream.done_writing()
        codes = [asyncio.create_task(stream.code()) for stream in streams]
        await until(lambda: sum(code.done() for code in codes) == 4)
        assert {code.result() for code in codes if code.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        crowded.workers.gate.set()
        answered = [answer.id for stream in streams async for answer in taken(stream)]
    assert answered == ["1"] * 4
    assert (crowded.classifier.pending.total, crowded.classifier.streams.beside.total) == (0, 0)


async def taken(stream: Any) -> AsyncIterator[Any]:
    """Answers until the stream ends, however it ends."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for answer in stream:
            yield answer


async def test_nothing_is_read_ahead_of_answers_that_are_not_taken() -> None:
    served = gateway(queue_size=2 * STREAM_WINDOW)
    read = 0

    async def messages() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(3 * STREAM_WINDOW):
            read += 1
            yield ClassifyStreamRequest(image=Image(content=PNG)).SerializeToString()

    context: Any = SimpleNamespace(peer=lambda: "ipv4:127.0.0.1:1", time_remaining=lambda: None)
    stream = ImageStream(served.classifier, context, Served("r-1", arrived_late=False), lambda: EVERYBODY)
    reading = asyncio.create_task(stream.read(messages()))
    await until(lambda: served.workers.finished == STREAM_WINDOW)
    await asyncio.sleep(0.05)
    assert read == STREAM_WINDOW
    reading.cancel()
    await asyncio.wait([reading])
