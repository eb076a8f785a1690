"""Sides -> rows: in every round each side has its turn under every load; whoever else runs is stopped meanwhile."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
from rich.progress import Progress

from .in_process import InProcess
from .load import Measured, accounted, closed, even, open_loop, poisson, warm
from .rows import IN_PROCESS, Row, row
from .side import CALLERS, OURS, Opening, Side, always

SHARE = 0.7
"""Of the side's own throughput at most callers, offered in the open loop."""
EVEN, POISSON = "70 % evenly", "70 % Poisson"
WARM_SECONDS = 2.0
"""At the start of a turn: who was stopped, or has just been started, is not what is compared."""
OPEN = 4
"""So many times as long as the others is an open loop of ours: its p99 is to rest on more than the two worst calls."""


@dataclass(frozen=True)
class Turns:
    images: Sequence[bytes]
    rounds: int
    seconds: float
    """Of each load."""
    rows: list[Row] = field(default_factory=list)
    """What has been measured, also when it ends early."""

    async def run(self, ours: Sequence[Side], theirs: Sequence[Opening], ceiling: InProcess) -> None:
        """Round 0 warms our own up and is not kept; peers are started for each turn, and warmed then.

        A peer that fails has no more rows of that round, and its reason is printed.
        """
        with Progress() as bar:
            task = bar.add_task("rounds", total=(self.rounds + 1) * len(ours) + self.rounds * len(theirs))
            for number in range(self.rounds + 1):
                found: list[Row] = []
                everybody = [None, *map(always, ours), *(theirs if number else [])]
                # In another order each time, so that nobody always follows the same neighbour.
                for opening in random.Random(number).sample(everybody, len(everybody)):
                    if opening is None:
                        with running_alone(None, ours):
                            found.extend(self._alone(number, ceiling))
                        continue
                    with self._failing(bar, opening in theirs):
                        async with opening() as side:
                            bar.update(task, description=f"{side.name}, {side.variant}")
                            with running_alone(side, ours):
                                async for load, measured in self._turn(side, number):
                                    found.append(
                                        row(number, side.name, side.variant, load, measured, version=side.version)
                                    )
                    bar.advance(task)
                if number:
                    self.rows.extend(found)

    @contextmanager
    def _failing(self, bar: Progress, may_fail: bool) -> Iterator[None]:
        try:
            yield
        except (ExceptionGroup, RuntimeError) as error:
            if not may_fail:
                raise
            reasons = error.exceptions if isinstance(error, ExceptionGroup) else [error]
            bar.console.print(f"failed: {reasons[0]!r}")

    def _alone(self, number: int, ceiling: InProcess) -> Iterator[Row]:
        ceiling.measure(batch=8, seconds=WARM_SECONDS)
        for batch in (1, 8):
            found = ceiling.measure(batch=batch, seconds=self.seconds if number else 1.0)
            yield row(number, IN_PROCESS, OURS, f"batch {batch}", found)

    async def _turn(self, side: Side, number: int) -> AsyncIterator[tuple[str, Measured]]:
        """(load, what was found), as soon as it is."""
        seconds = self.seconds if number else 1.0
        await warm(side.call, self.images, callers=max(CALLERS), seconds=WARM_SECONDS)
        for callers in CALLERS:
            load = closed(side.call, self.images, callers=callers, seconds=seconds)
            found = await self._of(side, load)
            yield "1 caller" if callers == 1 else f"{callers} callers", found
        rate = SHARE * found.images_per_second
        arrivals = {EVEN: even(rate)} | ({POISSON: poisson(rate, number)} if side.variant == OURS else {})
        for name, due in arrivals.items():
            longer = OPEN * seconds if side.variant == OURS else seconds
            load = open_loop(side.call, self.images, due=due, seconds=longer)
            yield name, await self._of(side, load)

    async def _of(self, side: Side, load: object) -> Measured:
        before = await side.request_seconds()
        found = await accounted(load, side.processes)  # type: ignore[arg-type]
        after = await side.request_seconds()
        if after[1] > before[1]:
            found.request_seconds = (after[0] - before[0]) / (after[1] - before[1])
        return found


@contextmanager
def running_alone(side: Side | None, sides: Sequence[Side]) -> Iterator[None]:
    """Every other side's processes are stopped: they would send canaries."""
    mine = set(_family(side)) if side else set()
    others = {each for other in sides for each in _family(other)} - mine
    for process in others:
        with contextlib.suppress(psutil.NoSuchProcess):  # a short-lived helper of some server
            process.suspend()
            while process.status() != psutil.STATUS_STOPPED:  # as soon as it has been scheduled
                time.sleep(0.001)
    try:
        yield
    finally:
        for process in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _family(side: Side) -> list[psutil.Process]:
    return [each for process in side.processes.values() for each in (process, *process.children(recursive=True))]
