"""What every REST call gets, whatever it asks: a request id on the answer, a place in the metrics, a last catch.

Pure ASGI, outside FastAPI's routing, so that 404s and bugs pass through it as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from swin_gateway.calls import Calls
from swin_gateway.errors import ServingError
from swin_gateway.request_id import REQUEST_ID, request_id_from
from swin_gateway.rest_json import error_body


def error_response(error: ServingError, request_id: str) -> JSONResponse:
    headers = {} if error.retry_after is None else {"retry-after": str(math.ceil(error.retry_after))}
    return JSONResponse(error_body(error, request_id), error.http, headers)


class RestFrame:
    """`leaving` says that a drain has been announced."""

    def __init__(self, app: ASGIApp, calls: Calls, *, leaving: Callable[[], bool]) -> None:
        self._app = app
        self._calls = calls
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = request_id_from(headers.get(REQUEST_ID))
        answered = False

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                added = [(REQUEST_ID.encode(), request_id.encode())]
                if self._leaving():  # so that no kept connection is in use when the server closes them
                    added.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        traced = headers if scope.get("method") == "POST" else None  # not every probe
        with self._calls.serving("rest", request_id, headers=traced) as served:
            scope["swinserve"] = served
            try:
                await self._app(scope, receive, send_with_id)
                served.succeeded()
            except BaseException as error:  # noqa: BLE001 - `failure` raises again what is not for us
                failure = self._calls.failure(error, served)
                if not answered:
                    await error_response(failure, request_id)(scope, receive, send_with_id)
