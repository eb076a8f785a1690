"""Calls at a fixed rate, whether or not earlier ones are answered, each timed from when it was due.

A closed loop slows down with the service and so never shows an overload; and time that a late start hides would be
left out of the latency ("coordinated omission").
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

OK = "ok"
SHED = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True)
class Ended:
    outcome: str
    """OK or the name of the gRPC status"""
    due: float
    """Seconds since the start."""
    seconds: float
    """From when it was due to its end."""
    waited: float
    """Of these, before it was sent: the load generator's own lateness."""


Call = Callable[[], Awaitable[str]]
"""One call; returns its outcome."""


async def open_loop(call: Call, *, rate: float, seconds: float, seed: int = 0) -> list[Ended]:
    """Poisson arrivals, `rate` a second for `seconds`; returns when all have ended."""
    dice, begin = random.Random(seed), time.perf_counter()
    ended: list[Ended] = []
    running: set[asyncio.Task[None]] = set()
    due = 0.0

    async def one(due: float) -> None:
        sent = time.perf_counter() - begin
        outcome = await call()
        ended.append(Ended(outcome, due, time.perf_counter() - begin - due, sent - due))

    while (due := due + dice.expovariate(rate)) < seconds:
        await asyncio.sleep(begin + due - time.perf_counter())
        task = asyncio.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return ended


def grpc_call(channel: grpc.aio.Channel, image: bytes, *, timeout: float) -> Call:
    """Classify over gRPC."""
    stub = ClassifierStub(channel)
    request = ClassifyRequest(images=[Image(content=image)])

    async def call() -> str:
        try:
            await stub.Classify(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return OK

    return call


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
