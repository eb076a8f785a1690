"""What every call gets, over either protocol: an id, a place in the metrics, a line in the log when it fails.

Also the way to end the calls that a drain has waited for long enough, with an answer instead of a broken connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from swin_gateway.errors import Draining, InternalError, ServingError
from swin_gateway.metrics import Metrics
from swin_gateway.model import ServedModel

log = structlog.get_logger("calls")

CANCELLED = "cancelled"
OK = "ok"


@dataclass
class Served:
    """One call on its way; the adapter fills in what it finds out."""

    request_id: str
    arrived_late: bool
    """Whether the service was closing already when the call began; one that began before is answered."""
    method: str = ""
    """Empty for what is not counted, such as probes."""
    model: str = ""
    version: str = ""
    outcome: str = ""
    """Empty until it is known; a call that ends without one was cancelled by its caller."""

    def by(self, model: ServedModel) -> None:
        self.model, self.version = model.name, model.version

    def succeeded(self) -> None:
        """Unless a failure has been noted before."""
        self.outcome = self.outcome or OK

    def failed(self, error: ServingError) -> None:
        self.outcome = error.outcome
        log.log(error.log_level, "call failed", outcome=self.outcome, model=self.model, request_id=self.request_id)


class Calls:
    def __init__(self, metrics: Metrics, closing: asyncio.Event) -> None:
        self._metrics = metrics
        self._closing = closing
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cutting = False

    @contextmanager
    def serving(self, protocol: str, request_id: str, method: str = "") -> Iterator[Served]:
        """Around one call, in the task that answers it."""
        served = Served(request_id, self._closing.is_set(), method)
        task = asyncio.current_task()
        assert task is not None
        started = time.monotonic()
        self._tasks.add(task)
        try:
            with self._metrics.in_flight.track_inprogress():
                yield served
        finally:
            self._tasks.discard(task)
            if served.method:
                seconds = time.monotonic() - started
                outcome = served.outcome or CANCELLED
                self._metrics.call(protocol, served.method, served.model, served.version, outcome, seconds)

    def failure(self, error: BaseException, served: Served) -> ServingError:
        """What to answer to a call that ended with `error`; notes it. Raises `error` again if the caller cancelled."""
        answer: ServingError
        if isinstance(error, ServingError):
            answer = error
        elif isinstance(error, asyncio.CancelledError) and self._cutting:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # it was our own doing; the task goes on to answer
            answer = Draining("the service is shutting down and could not finish this; another instance can answer it")
        elif isinstance(error, Exception):
            log.error("bug", method=served.method, request_id=served.request_id, exc_info=error)
            answer = InternalError()
        else:
            raise error
        served.failed(answer)
        return answer

    def cut(self) -> int:
        """Ends every call that is being answered with Draining; returns how many there were."""
        self._cutting = True
        for task in self._tasks:
            task.cancel()
        return len(self._tasks)
