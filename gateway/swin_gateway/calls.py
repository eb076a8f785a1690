"""What every call gets, over either protocol: an id, a place in the metrics, a line in the log, a span.

Also the way to end the calls that a drain has waited for long enough, with an answer instead of a broken connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from swin_gateway import stages
from swin_gateway.access import EVERYBODY, Grant
from swin_gateway.access_log import AccessLog
from swin_gateway.errors import Draining, InternalError, ServingError
from swin_gateway.metrics import Metrics
from swin_gateway.model import ServedModel
from swin_gateway.tracing import NO_TRACE, Trace, Tracing
from swin_proto.v1.classifier_pb2 import ClassifyResponse

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
    error: ServingError | None = None
    grant: Grant = EVERYBODY
    trace: Trace = NO_TRACE
    response: ClassifyResponse | None = None
    streamed: Counter[str] = field(default_factory=Counter)
    """Images of a stream by outcome."""

    def by(self, model: ServedModel) -> None:
        self.model, self.version = model.name, model.version

    def identity(self) -> dict[str, str]:
        return {"request_id": self.request_id, "model": self.model, "version": self.version}

    def succeeded(self) -> None:
        """Unless a failure has been noted before."""
        self.outcome = self.outcome or OK

    def failed(self, error: ServingError) -> None:
        self.outcome, self.error = error.outcome, error

    def facts(self, protocol: str, seconds: float) -> dict[str, object]:
        """What is known of it when it has ended, for the log."""
        known = {"method": self.method, "model": self.model, "token": self.grant.name, "trace_id": self.trace.id}
        facts: dict[str, object] = {"request_id": self.request_id, "protocol": protocol, "seconds": round(seconds, 6)}
        facts |= {key: each for key, each in known.items() if each}
        if self.error is not None:
            facts["message"] = self.error.message
        if self.streamed:
            facts |= {"images": self.streamed.total(), "failed": self.streamed.total() - self.streamed[OK]}
        if self.response is not None:
            facts["images"] = len(self.response.results)
            facts |= {f"{name}_seconds": round(each, 6) for name, each in stages.seconds(self.response.timing).items()}
        return facts


class Calls:
    def __init__(
        self, metrics: Metrics, closing: asyncio.Event, *, tracing: Tracing | None = None, access_log_rate: int = 10
    ) -> None:
        """access_log_rate: lines a second for each outcome"""
        self._metrics = metrics
        self._tracing = tracing or Tracing()
        self._access_log = AccessLog(access_log_rate)
        self._closing = closing
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cutting = False

    @contextmanager
    def serving(
        self, protocol: str, request_id: str, method: str = "", headers: Mapping[str, Any] | None = None
    ) -> Iterator[Served]:
        """Around one call, in the task that answers it.

        headers: what the caller sent, names in lower case; None for what is not traced
        """
        served = Served(request_id, self._closing.is_set(), method)
        task = asyncio.current_task()
        assert task is not None
        started = time.monotonic()
        self._tasks.add(task)
        try:
            with self._metrics.in_flight.track_inprogress(), self._tracing.call(headers) as served.trace:
                try:
                    yield served
                finally:
                    self._ended(served, protocol, time.monotonic() - started)
        finally:
            self._tasks.discard(task)

    def _ended(self, served: Served, protocol: str, seconds: float) -> None:
        outcome = served.outcome or CANCELLED
        error, names = served.error, (served.model, served.version)
        served.trace.describe(served.method or "call", protocol=protocol, outcome=outcome, **served.identity())
        if error is not None and error.http >= 500:
            served.trace.failed(error.reason)
        if served.method:
            self._metrics.call(protocol, served.method, *names, outcome, seconds, trace_id=served.trace.id)
        if served.method or error is not None:
            level = logging.WARNING if error is not None and error.http >= 500 else logging.INFO
            self._access_log.write(outcome, level, lambda: served.facts(protocol, seconds))

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
