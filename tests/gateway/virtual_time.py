"""An event loop in which nothing takes time but sleeping, and sleeping takes none of ours."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _Selector(selectors.SelectSelector):
    """Where a loop would sleep until its next timer, its clock jumps there."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is left to wait for: whoever waits does so for ever")
        self.now += timeout
        return super().select(0)


class VirtualTime(asyncio.SelectorEventLoop):
    """Its clock starts at 0. Only timers, tasks and futures: it never waits for sockets or threads."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution: Any = 1e-9  # seconds; the real clock's would let timers fire early

    def time(self) -> float:
        return self._virtual.now
