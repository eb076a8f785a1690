"""Images of one model version -> at most two batches a worker dispatched, a bounded number waiting, the rest shed.

TorchServe neither expires nor abandons what it has queued, so the queue is here: what still waits here can be shed,
expire or be abandoned for free. Each caller's images go first come, first served; callers take turns.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from swin_gateway.errors import DeadlineExceeded, DeadlineUnreachable, Overloaded
from swin_gateway.metrics import ModelMetrics
from swin_gateway.turns import Turns

T = TypeVar("T")

BATCHES_DISPATCHED = 2  # per worker: one computing, one waiting for it in TorchServe
SMOOTHING = 0.1  # weight of the newest answer in the moving average of the service rate
OUTLIER = 2.0
"""A time more than so many times the average counts as that many: one stall says little of what comes after it."""
CAUTION = 1.25
"""An expected time is a mean: taken to its limit, half of the calls would end behind their deadlines, done in vain."""
WARY = 10
"""A free slot is no promise until so many full pipelines are answered in time after one answer came too late."""
GREED = 3
"""A caller may have this many times as many images waiting as there is room left for others."""


class Place:
    """One image's place in the queue. Leaving twice is harmless, so whoever takes places can always give them back."""

    def __init__(self, admission: Admission, caller: str) -> None:
        self._admission = admission
        self.caller = caller

    def leave(self) -> None:
        self._admission.leave(self)


class Admission:
    """The queue of one model version. Its unit is the image."""

    def __init__(self, *, batch_size: int, workers: int, queue_size: int, metrics: ModelMetrics) -> None:
        """queue_size: images that one caller alone may have waiting; a third more is kept for the others."""
        self._batch_size, self._workers = batch_size, workers
        self.slots = BATCHES_DISPATCHED * batch_size * workers
        """Images that TorchServe may have at a time."""
        self._free_slots = self.slots
        self._turns = Turns()
        """Of those who wait for a slot: nobody while one is free."""
        self._queue_size = queue_size
        self._room = queue_size + math.ceil(queue_size / GREED)
        self._metrics = metrics
        self._waiting: set[Place] = set()
        self._waiting_of: Counter[str] = Counter()
        self._left = asyncio.Event()
        """Set by whoever leaves the queue."""
        self._dispatched: set[asyncio.Future[Any]] = set()
        self._seconds_per_image = 0.0  # unknown until a whole batch for each worker has been under way
        self._wary = 0  # answers in time until a free slot is a promise again
        self._known_since: float | None = -math.inf
        """Monotonic: the first answer since a worker was lost, None until it comes. What was dispatched before says
        nothing of the rate."""

    @property
    def waiting(self) -> int:
        """Images that wait here."""
        return len(self._waiting)

    @property
    def dispatched(self) -> int:
        """Images that TorchServe has now."""
        return len(self._dispatched)

    def admit(self, images: int, *, caller: str, deadline: float = math.inf) -> list[Place]:
        """Places for `images`, all or none.

        Raises:
            Overloaded: not all of them fit, or they would leave too little room for other callers.
            DeadlineUnreachable: at the rate that was measured they will not be answered by `deadline` (monotonic).
        """
        retry_after = max(1.0, self.waiting * self._seconds_per_image)
        if not self._has_room(images, caller):
            self._metrics.shed("queue_full", images)
            raise Overloaded(f"the queue is full ({self.waiting} images wait)", retry_after=retry_after)
        seconds = self._seconds_until_answered(images, caller)
        if too_late(seconds, deadline):
            self._metrics.shed("deadline", images)
            ahead = f"{self.waiting} images wait and {self.dispatched} are under way"
            raise DeadlineUnreachable(
                f"{ahead}; this would take about {seconds:.2f} s"
                if seconds
                else "the deadline leaves no time for this; allow more",
                retry_after=retry_after,
            )
        places = [Place(self, caller) for _ in range(images)]
        self._waiting.update(places)
        self._waiting_of[caller] += images
        self._metrics.queue_depth(self.waiting)
        return places

    async def admit_when_room(self, *, caller: str, deadline: float = math.inf) -> Place:
        """One place, waited for instead of shed: bulk streams are held back by flow control.

        Raises:
            DeadlineExceeded: `deadline` (monotonic) passed before there was room.
        """
        try:
            async with asyncio.timeout_at(deadline if math.isfinite(deadline) else None):
                while not self._has_room(1, caller):
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            self._metrics.expired()
            raise DeadlineExceeded("the deadline passed before there was room in the queue") from None
        return self.admit(1, caller=caller)[0]

    def leave(self, place: Place) -> None:
        if place not in self._waiting:
            return
        self._waiting.remove(place)
        self._waiting_of[place.caller] -= 1
        if not self._waiting_of[place.caller]:
            del self._waiting_of[place.caller]  # callers come and go; only those that wait are kept
        self._left.set()
        self._metrics.queue_depth(self.waiting)

    async def run(self, place: Place, dispatch: Callable[[], Awaitable[T]], *, deadline: float) -> T:
        """Waits for a slot, then runs `dispatch()` to its end; its result, unless `deadline` (monotonic) passes before.

        A caller that goes away, or whose deadline passes while `dispatch` runs, abandons the answer, not the call.

        Raises:
            DeadlineExceeded: `deadline` passed in the queue or behind it.
        """
        full = not self._free_slots
        await self._wait_for_slot(place, deadline)
        if too_late(self.dispatched * self._seconds_per_image if full else 0.0, deadline):
            # Computed in vain it would make the next one late as well: that is how an overload outlasts its cause.
            self._give_back_slot(place.caller)
            self._metrics.expired()
            raise DeadlineExceeded("it waited too long to be answered by its deadline")
        call = asyncio.ensure_future(self._in_slot(dispatch, deadline))
        self._dispatched.add(call)
        self._metrics.dispatched(self.dispatched)
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

    def forget_rate(self) -> None:
        """A worker was lost: what is under way waits for its successor, and takes that much longer."""
        self._seconds_per_image, self._known_since, self._wary = 0.0, None, 0

    def _has_room(self, images: int, caller: str) -> bool:
        left = self._room - self.waiting - images
        return self._waiting_of[caller] + images <= min(self._queue_size, GREED * left)

    def _seconds_until_answered(self, images: int, caller: str) -> float:
        """Expected, for the last of them; nothing where that says little."""
        under_way = self.dispatched + self.waiting
        if not under_way:
            return 0.0  # what is known of the rate may be from long ago, and refusing would keep it so
        if self._free_slots >= self.waiting + images:
            return (under_way + images) * self._seconds_per_image if self._wary else 0.0
        mine = self._waiting_of[caller] + images
        # Turns go round: of every other caller at most as many images go before mine as I have.
        before = sum(min(theirs, mine) for other, theirs in self._waiting_of.items() if other != caller)
        return self._seconds_in_line(self.dispatched + before + mine)

    def _seconds_in_line(self, images: int) -> float:
        """Expected until the last of `images` is answered, who waits for a slot."""
        # Its batch is answered as a whole, and until that is computed those who come later fill it.
        return math.ceil(images / self._batch_size) * self._batch_size * self._seconds_per_image

    async def _wait_for_slot(self, place: Place, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._slot(place.caller)
        except TimeoutError:
            self._metrics.expired()
            raise DeadlineExceeded("the deadline passed in the queue") from None
        except asyncio.CancelledError:
            if passed(deadline):
                self._metrics.expired()
            raise
        finally:
            place.leave()

    async def _slot(self, caller: str) -> None:
        if self._free_slots:
            self._free_slots -= 1
            return
        turn = self._turns.join(caller)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._turns.leave(caller, turn)
            else:  # it came in the same moment
                self._give_back_slot(caller)
            raise

    def _give_back_slot(self, unused_by: str | None = None) -> None:
        # Whose oldest image came too late still has its turn: else the longer a caller waits, the less it would get.
        if not self._turns.give(unused_by):
            self._free_slots += 1

    async def _in_slot(self, dispatch: Callable[[], Awaitable[T]], deadline: float) -> T:
        started, images = time.monotonic(), self.dispatched
        try:
            answer = await dispatch()
            self._learn(started, images, deadline)
            return answer
        finally:
            self._give_back_slot()

    def _learn(self, started: float, images: int, deadline: float) -> None:
        """From an answer to an image that made `images` under way."""
        now, known = time.monotonic(), self._seconds_per_image
        if self._known_since is None:
            self._known_since = now
        if started <= self._known_since:
            return
        late = now > deadline and images > 1  # whoever is late alone asks for more than there is
        self._wary = WARY * self.slots if late else max(0, self._wary - 1)
        # Fewer than all workers can take are slower for each, which matters only where that is too slow.
        if images >= self._batch_size * self._workers or (late and known):
            # An image leaves the pipeline every (time in it / images in it) seconds.
            seconds = (now - started) / images
            self._seconds_per_image = known + SMOOTHING * (min(seconds, OUTLIER * known) - known) if known else seconds

    def _finished(self, call: asyncio.Future[Any]) -> None:
        self._dispatched.discard(call)
        self._metrics.dispatched(self.dispatched)
        if not call.cancelled():
            call.exception()  # an abandoned call's error has no other reader


def too_late(seconds: float, deadline: float) -> bool:
    """Whether an answer that is expected in `seconds` may not be there by `deadline` (monotonic)."""
    return time.monotonic() + CAUTION * seconds > deadline


def passed(deadline: float) -> bool:
    """Whether a cancellation is the deadline's doing: gRPC cancels a call itself, about when our own timer fires."""
    return time.monotonic() > deadline - 0.1  # seconds
