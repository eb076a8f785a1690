"""Counts the calls being answered, so that a drain knows when the last one is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge


class InFlight:
    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._calls = 0
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def call(self) -> Iterator[None]:
        self._change(+1)
        try:
            yield
        finally:
            self._change(-1)

    async def none_left(self, timeout: float) -> bool:
        """Waits until no call is being answered; False if `timeout` seconds were not enough."""
        try:
            await asyncio.wait_for(self._none.wait(), timeout)
        except TimeoutError:
            return False
        return True

    def _change(self, by: int) -> None:
        self._calls += by
        self._gauge.set(self._calls)
        (self._none.clear if self._calls else self._none.set)()
