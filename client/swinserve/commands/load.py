"""A service's URL and images -> calls from threads, each with a connection of its own -> what became of them.

Closed loop: each thread calls again as soon as it is answered. Open loop: calls are due at a fixed rate, and what a
call takes counts from when it was due, so that a service that stalls is not asked less for it.
"""

import itertools
import math
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from swinserve.client import Client
from swinserve.errors import SwinserveError
from swinserve.results import Classification

STAGES = ("queue", "batch_wait", "decode", "inference")
ROUNDING = 1e-6
"""Of a number of calls, which comes from a time."""


@dataclass(frozen=True)
class Plan:
    """`rate`, in calls a second, makes it an open loop; `concurrency` is then how many calls may be under way."""

    images: tuple[bytes, ...]
    model: str
    images_per_call: int
    concurrency: int
    rate: float | None
    seconds: float
    warm_up: float


def _columns() -> "dict[str, array[float]]":
    return {name: array("d") for name in ("call", *STAGES)}


@dataclass
class Measured:
    """Of the calls that began after the warm-up. Columns have one number a call that was answered, in seconds."""

    seconds: float = 0.0
    """From the end of the warm-up to the last answer."""
    images: int = 0
    """Answered without an error."""
    errors: Counter[str] = field(default_factory=Counter)
    """Images, by the reason of their error."""
    not_sent: int = 0
    """Calls of an open loop that were due while all that may be under way were."""
    columns: "dict[str, array[float]]" = field(default_factory=_columns)


class Load:
    """`start`, then `wait` until it is over; `stop` ends it early. `measured` is whole once `wait` has returned."""

    def __init__(self, plan: Plan, connect: Callable[[], Client]) -> None:
        self.measured = Measured()
        self._plan = plan
        self._connect = connect
        self._numbers = itertools.count()
        self._sent = 0
        self._stopped = threading.Event()
        self._over = False
        self._recording = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._began = self._measured_from = self._end = 0.0

    def start(self) -> None:
        # Before the clock runs: what a client imports, and a context of TLS for each, takes its time.
        clients = [self._connect() for _ in range(self._plan.concurrency)]
        self._began = time.monotonic()
        self._measured_from = self._began + self._plan.warm_up
        self._end = self._measured_from + self._plan.seconds
        for client in clients:
            # Daemons: who interrupts a second time does not wait for answers that may not come.
            thread = threading.Thread(target=self._run, args=(client,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """No call begins any more."""
        self._stopped.set()
        self._end = min(self._end, time.monotonic())

    def wait(self, seconds: float | None = None) -> bool:
        """Whether every call has been answered by then; None waits for as long as it takes."""
        until = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if until is None else max(0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return False
        if self._plan.rate is not None:
            due = math.ceil((self._end - self._began) * self._plan.rate - ROUNDING)
            self.measured.not_sent = max(0, due - self._sent)
        with self._recording:
            # A thread that ctrl-C kept `start` from noting may still be calling.
            self._over = True
        return True

    def _run(self, client: Client) -> None:
        with client:
            while (due := self._next()) is not None:
                self._call(client, *due)

    def _next(self) -> tuple[int, float] | None:
        """The number of the next call, and when it was or is due, once that is; None: the time is over."""
        number, now, rate = next(self._numbers), time.monotonic(), self._plan.rate
        if rate is None:
            # However short the time, each thread calls once.
            over = self._stopped.is_set() or (now >= self._end and number >= self._plan.concurrency)
            return None if over else (number, now)
        due = self._began + number / rate
        # What was due long ago and could not be sent is not sent after the end.
        if max(due, now) >= self._end or self._stopped.wait(max(0, due - now)):
            return None
        with self._recording:
            self._sent += 1
        return number, due

    def _call(self, client: Client, number: int, due: float) -> None:
        size, images = self._plan.images_per_call, self._plan.images
        sent = [images[(number * size + each) % len(images)] for each in range(size)]
        try:
            answer: Classification | SwinserveError = client.classify_many(sent, model=self._plan.model)
        except SwinserveError as error:
            answer = error
        if due >= self._measured_from:
            self._record(answer, due, size)

    def _record(self, answer: Classification | SwinserveError, due: float, size: int) -> None:
        with self._recording:
            if self._over:
                return
            measured, now = self.measured, time.monotonic()
            measured.seconds = now - self._measured_from
            if isinstance(answer, SwinserveError):
                measured.errors[_kind(answer)] += size
                return
            errors = [result.error for result in answer.results if result.error is not None]
            measured.errors.update(map(_kind, errors))
            measured.images += size - len(errors)
            measured.columns["call"].append(now - due)
            for stage in STAGES:
                measured.columns[stage].append(getattr(answer.timing, stage))


def _kind(error: SwinserveError) -> str:
    return error.reason or error.code
