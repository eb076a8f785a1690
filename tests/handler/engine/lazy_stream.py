"""A stream that does nothing before somebody waits for it: as late as a device could, so that a missing wait shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LazyEvent:
    stream: LazyStream
    position: int

    def synchronize(self) -> None:
        self.stream.catch_up(self.position)


class LazyStream:
    def __init__(self) -> None:
        self._work: list[Callable[[], None]] = []
        self._done = 0

    def run(self, work: Callable[[], None]) -> None:
        self._work.append(work)

    def record(self) -> LazyEvent:
        return LazyEvent(self, len(self._work))

    def wait(self, event: LazyEvent) -> None:
        self._work.append(event.synchronize)

    def catch_up(self, position: int) -> None:
        while self._done < position:
            self._done += 1
            self._work[self._done - 1]()
