"""A call and how it is made -> what became of it: images a second, latencies, and the CPU time that it took.

The load generator has the same cores as what it measures, so its own CPU time is counted as well.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

Stages = Mapping[str, float]
"""Seconds by name; empty where a server does not tell."""
Call = Callable[[bytes], Awaitable[Stages]]
"""One image, answered. Whatever it raises ends the benchmark: a server that fails is not compared."""


@dataclass
class Measured:
    seconds: float
    """Of the wall clock, until the last answer."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each call; in an open loop from when it was due."""
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
    found, turns = Measured(0), itertools.cycle(images)
    begin = time.perf_counter()

    async def caller() -> None:
        while (started := time.perf_counter()) < begin + seconds:
            found.stages.append(await call(next(turns)))
            found.latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(caller() for _ in range(callers)))
    found.seconds = time.perf_counter() - begin
    return found


async def open_loop(call: Call, images: Sequence[bytes], *, due: Iterator[float], seconds: float) -> Measured:
    """A call whenever one is due, whether or not earlier ones are answered."""
    found, turns = Measured(0), itertools.cycle(images)
    begin = time.perf_counter()

    async def one(at: float) -> None:
        found.stages.append(await call(next(turns)))
        found.latencies.append(time.perf_counter() - begin - at)

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
    everybody = {**processes, "generator": psutil.Process()}
    alone = {name: name == "generator" or len(processes) > 1 for name in everybody}
    before = {name: _cpu_seconds(process, alone=alone[name]) for name, process in everybody.items()}
    found = await load
    found.cpu_seconds = {
        name: _cpu_seconds(process, alone=alone[name]) - before[name] for name, process in everybody.items()
    }
    found.memory_mb = sum(_memory_mb(process, alone=alone[name]) for name, process in processes.items())
    return found


def _family(process: psutil.Process, *, alone: bool) -> list[psutil.Process]:
    return [process] if alone else [process, *process.children(recursive=True)]


def _cpu_seconds(process: psutil.Process, *, alone: bool) -> float:
    times = [each.cpu_times() for each in _family(process, alone=alone)]
    return sum(each.user + each.system for each in times)


def _memory_mb(process: psutil.Process, *, alone: bool) -> float:
    """What forked processes share counts once."""
    return sum(each.memory_full_info().pss for each in _family(process, alone=alone)) / 2**20
