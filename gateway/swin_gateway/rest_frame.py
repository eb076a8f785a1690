"""What every REST call gets, whatever it asks: a request id on the answer, a place in the metrics, a last catch.

Pure ASGI, outside FastAPI's routing, so that 404s and bugs pass through it as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from swin_gateway.errors import InternalError, ServingError
from swin_gateway.metrics import Metrics
from swin_gateway.model import ServedModel
from swin_gateway.request_id import REQUEST_ID, request_id_from
from swin_gateway.rest_json import error_body

log = structlog.get_logger("rest")


@dataclass
class Served:
    """One call on its way, kept in the ASGI scope; the endpoint fills in what it finds out."""

    request_id: str
    arrived_late: bool
    """Whether the service was draining already when the call began; one that began before is answered."""
    method: str = ""
    model: str = ""
    version: str = ""
    outcome: str = "ok"

    def by(self, model: ServedModel) -> None:
        self.model, self.version = model.name, model.version

    def answer(self, error: ServingError) -> JSONResponse:
        """The rendering of `error`, which also becomes the call's outcome."""
        self.outcome = error.outcome
        log.log(error.log_level, "call failed", outcome=self.outcome, model=self.model, request_id=self.request_id)
        headers = {} if error.retry_after is None else {"retry-after": str(math.ceil(error.retry_after))}
        return JSONResponse(error_body(error, self.request_id), error.http, headers)


class RestFrame:
    """`leaving` says that a drain has been announced, `closing` that nothing new is taken any more."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, *, leaving: Callable[[], bool], closing: Callable[[], bool]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._leaving = leaving
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = next((value for name, value in scope["headers"] if name == REQUEST_ID.encode()), None)
        served = scope["swinserve"] = Served(request_id_from(asked), self._closing())
        started = time.monotonic()
        answered = False

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                added = [(REQUEST_ID.encode(), served.request_id.encode())]
                if self._leaving():  # so that no kept connection is in use when the server closes them
                    added.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            with self._metrics.in_flight.track_inprogress():
                await self._app(scope, receive, send_with_id)
        except Exception:  # the last catch: what happened is logged, the caller gets a fixed text
            log.exception("bug", path=scope["path"], request_id=served.request_id)
            response = served.answer(InternalError())
            if not answered:
                await response(scope, receive, send_with_id)
        finally:
            if served.method:
                seconds = time.monotonic() - started
                self._metrics.call("rest", served.method, served.model, served.version, served.outcome, seconds)
