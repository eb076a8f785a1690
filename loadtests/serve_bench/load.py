"""A call and how it is made -> what became of it: images a second, latencies, and the CPU time that it took.

The load generator has the same cores as what it measures, so its own CPU time is counted as well.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import httpx
import psutil

Stages = Mapping[str, float]
"""Seconds by name; empty where a server does not tell."""
Call = Callable[[bytes], Awaitable[Stages]]
"""One image, answered. What it raises comes out of the load in an ExceptionGroup: who fails is not compared."""


@dataclass
class Measured:
    seconds: float
    """Of the wall clock, until the last answer."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each call; in an open loop from when it was due."""
    which: list[int] = field(default_factory=list)
    """The number of each call's image."""
    stages: list[Stages] = field(default_factory=list)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """By process; "generator" is ours."""
    memory_mb: float = 0.0
    """Of the server's processes together, when the last answer had come; what they share counts once."""
    request_seconds: float = 0.0
    """Mean of a call as the server itself counts it; 0 where it does not tell."""

    @property
    def images_per_second(self) -> float:
        return len(self.latencies) / self.seconds


async def closed(call: Call, images: Sequence[bytes], *, callers: int, seconds: float) -> Measured:
    """`callers` that ask again as soon as they are answered."""
    found, turns = Measured(0), itertools.cycle(enumerate(images))
    begin = time.perf_counter()

    async def caller() -> None:
        while (started := time.perf_counter()) < begin + seconds:
            number, image = next(turns)
            found.stages.append(await call(image))
            found.latencies.append(time.perf_counter() - started)
            found.which.append(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    found.seconds = time.perf_counter() - begin
    return found


async def warm(call: Call, images: Sequence[bytes], *, callers: int, seconds: float) -> None:
    """A closed loop whose failures do not matter: under the loads that are measured they show again."""

    async def attempt(image: bytes) -> Stages:
        with suppress(httpx.HTTPError):
            return await call(image)
        return {}

    await closed(attempt, images, callers=callers, seconds=seconds)


async def open_loop(call: Call, images: Sequence[bytes], *, due: Iterator[float], seconds: float) -> Measured:
    """A call whenever one is due, whether or not earlier ones are answered."""
    found, turns = Measured(0), itertools.cycle(enumerate(images))
    begin = time.perf_counter()

    async def one(at: float) -> None:
        number, image = next(turns)
        found.stages.append(await call(image))
        found.latencies.append(time.perf_counter() - begin - at)
        found.which.append(number)

    async with asyncio.TaskGroup() as group:
        for at in itertools.takewhile(lambda at: at < seconds, due):
            await asyncio.sleep(begin + at - time.perf_counter())
            group.create_task(one(at))
    found.seconds = time.perf_counter() - begin
    return found


def even(rate: float) -> Iterator[float]:
    """Seconds from the start at which a call is due: one each 1/rate, as wrk2 sends them."""
    return (number / rate for number in itertools.count())


def poisson(rate: float, seed: int) -> Iterator[float]:
    """As many independent callers come; bursts are part of it."""
    dice, at = random.Random(seed), 0.0
    while True:
        yield (at := at + dice.expovariate(rate))


async def accounted(load: Awaitable[Measured], processes: Mapping[str, psutil.Process]) -> Measured:
    """With the CPU time of each process and its children, ours included, and their memory."""
    families = {name: partial(_family, process, alone=len(processes) > 1) for name, process in processes.items()}
    families["generator"] = lambda: [psutil.Process()]
    before = {name: _cpu_seconds(family()) for name, family in families.items()}
    found = await load
    found.cpu_seconds = {name: _cpu_seconds(family()) - before[name] for name, family in families.items()}
    found.memory_mb = _memory_mb([each for name in processes for each in families[name]()])
    return found


def _family(process: psutil.Process, *, alone: bool) -> list[psutil.Process]:
    return [process] if alone else [process, *process.children(recursive=True)]


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Of children that have ended too, which their parents have inherited."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it ended just now
            total += sum(process.cpu_times()[:4])  # user, system, and the same of ended children
    return total


def _memory_mb(processes: Sequence[psutil.Process]) -> float:
    """What they have alone, and once the most that one of them shares; with whom else it is shared does not matter."""
    unique, shared = 0, 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            held = process.memory_full_info()
            unique, shared = unique + held.uss, max(shared, held.rss - held.uss)
    return (unique + shared) / 2**20
