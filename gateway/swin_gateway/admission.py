"""Images of one model version -> at most two batches a worker dispatched, a bounded number waiting, the rest shed.

TorchServe neither expires nor abandons what it has queued, so the queue is here: what still waits here can be shed,
expire or be abandoned for free. First come, first served.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from swin_gateway.errors import DeadlineExceeded, DeadlineUnreachable, Overloaded
from swin_gateway.metrics import ModelMetrics

T = TypeVar("T")

BATCHES_DISPATCHED = 2  # per worker: one computing, one waiting for it in TorchServe
SMOOTHING = 0.1  # weight of the newest answer in the moving average of the service rate


class Place:
    """One image's place in the queue. Leaving twice is harmless, so whoever takes places can always give them back."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def leave(self) -> None:
        self._admission.leave(self)


class Admission:
    """The queue of one model version. Its unit is the image."""

    def __init__(self, *, batch_size: int, workers: int, queue_size: int, metrics: ModelMetrics) -> None:
        self._slots = asyncio.Semaphore(BATCHES_DISPATCHED * batch_size * workers)
        self._queue_size = queue_size
        self._metrics = metrics
        self._waiting: set[Place] = set()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._dispatched: set[asyncio.Future[Any]] = set()
        self._seconds_per_image = 0.0  # unknown until the pipeline has been full

    @property
    def waiting(self) -> int:
        """Images that wait here."""
        return len(self._waiting)

    @property
    def dispatched(self) -> int:
        """Images that TorchServe has now."""
        return len(self._dispatched)

    def admit(self, images: int, *, deadline: float = math.inf) -> list[Place]:
        """Places for `images`, all or none.

        Raises:
            Overloaded: not all of them fit.
            DeadlineUnreachable: those that wait already will take until after `deadline` (monotonic).
        """
        wait = self.waiting * self._seconds_per_image
        if self.waiting + images > self._queue_size:
            raise Overloaded(f"the queue is full ({self.waiting} images wait)", retry_after=max(1.0, wait))
        if time.monotonic() + wait > deadline:
            raise DeadlineUnreachable(f"{self.waiting} images wait, for about {wait:.1f} s", retry_after=max(1.0, wait))
        places = [Place(self) for _ in range(images)]
        self._waiting.update(places)
        self._changed()
        return places

    async def admit_when_room(self) -> Place:
        """One place, waited for instead of shed: bulk streams are held back by flow control."""
        while self.waiting >= self._queue_size:
            await self._has_room.wait()
        return self.admit(1)[0]

    def leave(self, place: Place) -> None:
        self._waiting.discard(place)
        self._changed()

    async def run(self, place: Place, dispatch: Callable[[], Awaitable[T]], *, deadline: float) -> T:
        """Waits for a slot, then runs `dispatch()` to its end; its result, unless `deadline` (monotonic) passes before.

        A caller that goes away, or whose deadline passes while `dispatch` runs, abandons the answer, not the call.

        Raises:
            DeadlineExceeded: `deadline` passed in the queue or behind it.
        """
        if time.monotonic() >= deadline:  # a free slot is taken without waiting, and then no timer looks
            place.leave()
            self._metrics.expired()
            raise DeadlineExceeded("the deadline passed in the queue")
        await self._wait_for_slot(place, deadline)
        call = asyncio.ensure_future(self._in_slot(dispatch))
        self._dispatched.add(call)
        call.add_done_callback(self._finished)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(call)
        except TimeoutError:
            self._metrics.abandoned("deadline")
            raise DeadlineExceeded("the deadline passed while the image was being classified") from None
        except asyncio.CancelledError:
            self._metrics.abandoned("deadline" if passed(deadline) else "caller")
            raise

    async def _wait_for_slot(self, place: Place, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            self._metrics.expired()
            raise DeadlineExceeded("the deadline passed in the queue") from None
        except asyncio.CancelledError:
            if passed(deadline):
                self._metrics.expired()
            raise
        finally:
            place.leave()

    async def _in_slot(self, dispatch: Callable[[], Awaitable[T]]) -> T:
        started = time.monotonic()
        try:
            return await dispatch()
        finally:
            if self._slots.locked():
                # Only a full pipeline tells the rate: an image leaves it every (time in it / images in it) seconds.
                latest = (time.monotonic() - started) / self.dispatched
                previous = self._seconds_per_image or latest
                self._seconds_per_image = previous + SMOOTHING * (latest - previous)
            self._slots.release()

    def _finished(self, call: asyncio.Future[Any]) -> None:
        self._dispatched.discard(call)
        if not call.cancelled():
            call.exception()  # an abandoned call's error has no other reader

    def _changed(self) -> None:
        self._metrics.queue_depth(self.waiting)
        (self._has_room.set if self.waiting < self._queue_size else self._has_room.clear)()


def passed(deadline: float) -> bool:
    """Whether a cancellation is the deadline's doing: gRPC cancels a call itself, about when our own timer fires."""
    return time.monotonic() > deadline - 0.1  # seconds
