"""More load than the workers can take, simulated: what admission lets through is answered in time, and is all they can
do, however short deadlines are beside a batch."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from swin_gateway import admission
from swin_gateway.admission import Admission
from swin_gateway.errors import DeadlineExceeded, DeadlineUnreachable, Overloaded
from swin_gateway.metrics import Metrics

from .virtual_time import VirtualTime

BATCH_SIZE = 8
BATCH_SECONDS = 0.8
"""Of a whole batch."""
HAND_OVER = 0.0005
"""Seconds between batches in which answers go out and new images come in."""


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualTime]:
    made = VirtualTime()
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=made.time))
    yield made
    made.close()


@dataclass
class Workers:
    """The neighbour: a queue of images, of which each worker takes what is there, a batch at most."""

    count: int
    overhead: float
    """Part of a whole batch's time that a batch of one takes too."""
    dice: random.Random
    queue: deque[asyncio.Future[None]] = field(default_factory=deque)
    computing: set[asyncio.Task[None]] = field(default_factory=set)
    slowness: float = 1.0
    down: bool = False

    async def answer(self) -> None:
        mine = asyncio.get_running_loop().create_future()
        self.queue.append(mine)
        self.start()
        await mine

    def start(self) -> None:
        if not self.down and len(self.computing) < self.count:
            task = asyncio.create_task(self._compute())
            self.computing.add(task)
            task.add_done_callback(self.computing.discard)

    async def _compute(self) -> None:
        await asyncio.sleep(HAND_OVER)
        while self.queue:
            batch = [self.queue.popleft() for _ in range(min(BATCH_SIZE, len(self.queue)))]
            share = self.overhead + (1 - self.overhead) * len(batch) / BATCH_SIZE
            await asyncio.sleep(BATCH_SECONDS * self.slowness * share * self.dice.uniform(0.9, 1.1))
            for image in batch:
                image.set_result(None)
            await asyncio.sleep(HAND_OVER)


class Traffic:
    """Calls of one image at random times, whether or not earlier ones are answered."""

    def __init__(self, *, workers: int = 1, overhead: float = 0.0) -> None:
        self.dice = random.Random(0)
        self.workers = Workers(workers, overhead, self.dice)
        self.capacity = workers * BATCH_SIZE / BATCH_SECONDS
        metrics = Metrics().for_model("digits", "1")
        self.admission = Admission(batch_size=BATCH_SIZE, workers=workers, queue_size=64, metrics=metrics)

    async def run(self, *, load: float, deadline: float, batches: int = 300) -> dict[str, float]:
        """load, and what became of it: as parts of the capacity. deadline: in times of a whole batch"""
        loop, outcomes = asyncio.get_running_loop(), Counter[str]()
        begin, seconds = loop.time(), batches * BATCH_SECONDS / self.workers.count

        async def call() -> None:
            until = loop.time() + deadline * BATCH_SECONDS
            try:
                (place,) = self.admission.admit(1, caller="a", deadline=until)
            except (Overloaded, DeadlineUnreachable):
                outcomes["refused"] += 1
                return
            try:
                await self.admission.run(place, self.workers.answer, deadline=until)
            except DeadlineExceeded:
                outcomes["late"] += 1
            else:
                outcomes["answered"] += 1

        async with asyncio.TaskGroup() as calls:
            while loop.time() < begin + seconds:
                await asyncio.sleep(self.dice.expovariate(load * self.capacity))
                calls.create_task(call())
        await asyncio.gather(*self.workers.computing)  # what nobody waits for any more
        return {name: outcomes[name] / seconds / self.capacity for name in ("answered", "refused", "late")}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("load", [1.1, 2.0, 4.0])
@pytest.mark.parametrize("deadline", [1, 1.5, 2, 3, 5, 12])
def test_the_workers_have_all_that_they_can_do_in_time(
    loop: VirtualTime, deadline: float, load: float, workers: int
) -> None:
    """Two batches are under way: a deadline of less than their time is where all of it could be done in vain."""
    became = loop.run_until_complete(Traffic(workers=workers).run(load=load, deadline=deadline))
    assert became["answered"] >= (0.95 if deadline >= 2 else 0.8), became
    assert became["late"] <= 0.11, became


@pytest.mark.parametrize("load", [1.1, 2.0, 4.0])
@pytest.mark.parametrize("deadline", [1, 1.5, 2, 3, 5])
def test_where_small_batches_are_dear_what_is_let_through_is_in_time(
    loop: VirtualTime, deadline: float, load: float
) -> None:
    """As on a GPU. A deadline that leaves no time for whole batches leaves less than the capacity, however shared."""
    became = loop.run_until_complete(Traffic(overhead=0.5).run(load=load, deadline=deadline))
    assert became["answered"] >= {1: 0.15, 1.5: 0.5, 2: 0.7, 3: 0.9, 5: 0.95}[deadline], became
    assert became["late"] <= 0.06, became


def test_below_the_capacity_nearly_nothing_is_refused(loop: VirtualTime) -> None:
    became = loop.run_until_complete(Traffic().run(load=0.8, deadline=3))
    assert became["answered"] >= 0.98 * sum(became.values()), became


def test_after_an_overload_short_calls_are_taken_as_before(loop: VirtualTime) -> None:
    async def overload_and_then_calm() -> dict[str, float]:
        traffic = Traffic()
        await traffic.run(load=4.0, deadline=12)
        return await traffic.run(load=0.3, deadline=3)

    became = loop.run_until_complete(overload_and_then_calm())
    assert became["answered"] >= 0.98 * sum(became.values()), became


@pytest.mark.parametrize("overhead", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("deadline", [2, 3, 5])
def test_a_slow_past_refuses_nothing_for_long(loop: VirtualTime, deadline: float, overhead: float) -> None:
    async def slow_and_then_calm() -> dict[str, float]:
        traffic = Traffic(overhead=overhead)
        traffic.workers.slowness = 10.0
        await traffic.run(load=0.4, deadline=deadline)
        traffic.workers.slowness = 1.0
        await traffic.run(load=0.4, deadline=deadline, batches=250)
        return await traffic.run(load=0.4, deadline=deadline)

    became = loop.run_until_complete(slow_and_then_calm())
    assert became["answered"] >= (0.9 if deadline == 2 else 0.98) * sum(became.values()), became


@pytest.mark.parametrize("overhead", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_impatient_caller_harms_nobody_else(loop: VirtualTime, workers: int, overhead: float) -> None:
    """It has not even the time that one image takes."""

    async def beside_the_impatient() -> dict[str, float]:
        traffic = Traffic(workers=workers, overhead=overhead)
        impatient = Traffic(workers=workers)
        impatient.admission, impatient.workers = traffic.admission, traffic.workers
        always = asyncio.create_task(impatient.run(load=0.1 / workers, deadline=0.1, batches=1200))
        await traffic.run(load=0.05, deadline=5)
        became = await traffic.run(load=0.5, deadline=5)
        await always
        return became

    became = loop.run_until_complete(beside_the_impatient())
    assert became["answered"] >= 0.98 * sum(became.values()), became


def test_an_outage_is_no_rate_for_those_who_come_during_it_either(loop: VirtualTime) -> None:
    async def outage_and_then_calm() -> dict[str, float]:
        traffic = Traffic()
        traffic.workers.down = True
        traffic.admission.forget_rate()
        outage = asyncio.create_task(traffic.run(load=0.5, deadline=12, batches=10))  # all of it waits
        await asyncio.sleep(9 * BATCH_SECONDS)
        traffic.workers.down = False
        traffic.workers.start()
        await outage
        return await traffic.run(load=0.5, deadline=3)

    became = loop.run_until_complete(outage_and_then_calm())
    assert became["answered"] >= 0.98 * sum(became.values()), became
