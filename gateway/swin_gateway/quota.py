"""What a token's limits leave of the images it asks for: so many a period, and so many in the service at once.

The unit is the image: a call may hold 64 of them. What was let through stays counted, though it be shed afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from swin_gateway.errors import RateLimited, TooLarge
from swin_gateway.held import Held
from swin_gateway.tokens import Token, rate_of

LEAST_WAIT = 0.02  # seconds


class Quota:
    """One token's; without limits it lets everything through."""

    def __init__(self, name: str = "", window: MovingWindowRateLimiter | None = None) -> None:
        self._name = name
        self._window = window
        self._rate: RateLimitItem | None = None
        self._most: int | None = None
        self._held = 0
        self._left = asyncio.Event()
        self._turn = asyncio.Lock()
        """Of those who wait: woken one by one, not all for each image that leaves."""

    def limit(self, rate: str | None, most: int | None) -> None:
        """rate: as in a token file; most: images at once; None for any number"""
        self._rate = None if rate is None else rate_of(rate)
        self._most = most

    @contextmanager
    def holding(self, images: int) -> Iterator[Held]:
        """Around one call with so many images; those that were dispatched are here until their jobs have ended.

        Raises:
            RateLimited: they are more than the limits leave now.
            TooLarge: they are more than the limits ever leave.
        """
        self._take(images)
        held = Held(self._change, images)
        try:
            yield held
        finally:
            held.end()

    @asynccontextmanager
    async def holding_one(self, deadline: float) -> AsyncIterator[Held]:
        """The same for one image of a stream, which waits for its turn until `deadline` (monotonic)."""
        await self._take_one(deadline)
        held = Held(self._change, 1)
        try:
            yield held
        finally:
            held.end()

    def _take(self, images: int) -> None:
        if self._most is not None:
            if images > self._most:
                raise TooLarge(f"more than the {self._most} images that this token may have here at once; send fewer")
            if self._held + images > self._most:
                raise RateLimited(f"this token has {self._held} of its {self._most} images here; wait for answers")
        if self._rate is not None and self._window is not None:
            if images > self._rate.amount:
                raise TooLarge(f"this token may ask for {self._rate} images; send fewer in one call")
            if not self._window.hit(self._rate, self._name, cost=images):
                reset, _ = self._window.get_window_stats(self._rate, self._name)
                wait = max(LEAST_WAIT, reset - time.time())
                raise RateLimited(f"this token may ask for {self._rate} images; try again later", retry_after=wait)
        self._held += images

    async def _take_one(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline), self._turn:
                while True:
                    try:
                        return self._take(1)
                    except RateLimited as refusal:
                        await self._until_one_leaves(refusal.retry_after)
        except TimeoutError:
            text = "the deadline passed before this token's limits left room; send less, or with longer deadlines"
            raise RateLimited(text) from None

    async def _until_one_leaves(self, seconds: float | None) -> None:
        """Or `seconds` have passed."""
        self._left.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._left.wait()

    def _change(self, images: int) -> None:
        self._held += images
        self._left.set()


UNLIMITED = Quota()


class Quotas:
    """Each token's by its name, so that what it has used up outlasts a reload of its limits."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._window = MovingWindowRateLimiter(self._storage)
        self._quotas: dict[str, Quota] = {}

    def of(self, token: Token) -> Quota:
        quota = self._quotas.setdefault(token.name, Quota(token.name, self._window))
        quota.limit(token.rate, token.concurrency)
        return quota
