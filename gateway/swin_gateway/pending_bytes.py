"""Bytes of request bodies and messages that the gateway holds -> a bound on all of them, over both protocols.

A body counts from its first byte until its call is answered, so the bound is also the queue's, in bytes. Of a call that
was abandoned, the images count that a worker has, until it is done with them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from swin_gateway.admission import GREED
from swin_gateway.errors import Overloaded
from swin_gateway.held import Held


class PendingBytes:
    """One caller may hold GREED times as many as it leaves free for others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()
        self.total = 0
        self._given = asyncio.Event()
        """Set by whoever gives some back."""

    def take(self, caller: str, size: int) -> None:
        """Raises Overloaded when all callers together, or this one alone, would hold too much."""
        if not self._fits(caller, size):
            raise Overloaded(f"too many bytes of images wait here ({self.total}); try again")
        self._change(caller, size)

    async def take_when_room(self, caller: str, size: int) -> None:
        """Waits instead: bulk streams are held back by flow control."""
        while not self._fits(caller, size):
            self._given.clear()
            await self._given.wait()
        self._change(caller, size)

    def give(self, caller: str, size: int) -> None:
        self._change(caller, -size)
        self._given.set()

    @contextmanager
    def holding(self, caller: str) -> Iterator[Holding]:
        """Around one call; what it has added is given back at the end."""
        holding = Holding(self, caller)
        try:
            yield holding
        finally:
            holding.end()

    def _fits(self, caller: str, size: int) -> bool:
        return self._held[caller] + size <= GREED * (self._limit - self.total - size)

    def _change(self, caller: str, size: int) -> None:
        self.total += size
        self._held[caller] += size
        if not self._held[caller]:
            del self._held[caller]  # callers come and go; only those that hold something are kept


class Holding(Held):
    """One call's share."""

    def __init__(self, pending: PendingBytes, caller: str, size: int = 0) -> None:
        """size: what was taken for it already"""
        super().__init__(lambda change: pending.give(caller, -change), size)
        self._pending = pending
        self._caller = caller

    def add(self, size: int) -> None:
        """Raises Overloaded; then nothing was added."""
        self._pending.take(self._caller, size)
        self.size += size
