"""What every REST call gets, whatever it asks: a request id on the answer, a grant or its refusal before a byte of the
body is read, a place in the metrics, headers for browsers, a last catch.

Pure ASGI, outside FastAPI's routing, so that 404s and bugs pass through it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from swin_gateway import scope_of
from swin_gateway.access import OPEN, Access
from swin_gateway.calls import Calls, Served
from swin_gateway.errors import ServingError
from swin_gateway.request_id import REQUEST_ID, request_id_from
from swin_gateway.rest_dialect import error_response
from swin_gateway.security_headers import security_headers

WORK = ("POST", "PUT")
"""Methods of calls that ask for work."""


class RestFrame:
    """`leaving` says that a drain has been announced."""

    def __init__(self, app: ASGIApp, calls: Calls, *, leaving: Callable[[], bool], access: Access = OPEN) -> None:
        self._app = app
        self._calls = calls
        self._leaving = leaving
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = request_id_from(headers.get(REQUEST_ID))
        answered = False

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                sent = [*message.get("headers", ()), (REQUEST_ID.encode(), request_id.encode())]
                if self._leaving():  # so that no kept connection is in use when the server closes them
                    sent.append((b"connection", b"close"))
                message["headers"] = sent + security_headers(sent, scheme=scope.get("scheme", "http"))
            await send(message)

        traced = headers if scope.get("method") in WORK else None  # not every probe
        with self._calls.serving("rest", request_id, headers=traced) as served:
            scope["swinserve"] = served
            try:
                self._let_in(scope, headers, served)
                await self._app(scope, receive, send_with_headers)
                served.succeeded()
            except BaseException as error:  # noqa: BLE001 - `failure` raises again what is not for us
                failure = self._calls.failure(error, served)
                if not answered:
                    answer = error_response(failure, request_id, scope["path"])
                    await answer(scope, receive, send_with_headers)

    def _let_in(self, scope: Scope, headers: Mapping[str, str], served: Served) -> None:
        if self._access.open:
            return
        needed = scope_of.rest(scope["method"], scope["path"])
        if needed is None:
            return
        try:
            served.grant = self._access.admit(headers.get("authorization"), needed)
        except ServingError:
            served.method = needed.capitalize()  # no endpoint will name it
            raise
