"""What every gRPC call gets, whatever it asks: a request id, a grant, a place in the metrics, a status with details."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc

from swin_gateway import caller
from swin_gateway.access import Access, Grant
from swin_gateway.calls import Calls, Served
from swin_gateway.errors import DeadlineExceeded
from swin_gateway.grpc_status import abort
from swin_gateway.request_id import REQUEST_ID, request_id_from
from swin_gateway.tokens import Scope


class ServicerContext(Protocol):
    """What is used of grpc.aio's context (its own stub lacks half of it)."""

    def invocation_metadata(self) -> Any: ...
    def peer(self) -> str: ...
    def time_remaining(self) -> float | None: ...
    def set_trailing_metadata(self, metadata: Any) -> None: ...
    async def send_initial_metadata(self, metadata: Any) -> None: ...
    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any = ()) -> None: ...


def headers_of(context: ServicerContext) -> Mapping[str, Any]:
    """Names in lower case."""
    return dict(context.invocation_metadata())


def grant_of(context: ServicerContext, access: Access, scope: Scope) -> Grant:
    """Whose call this is; GrpcAccess has let it in."""
    return access.admit(headers_of(context).get("authorization"), scope)


def caller_of(context: ServicerContext, served: Served) -> str:
    """Who shares the queue fairly with others."""
    return served.grant.name or caller.of_grpc(context.peer())


@asynccontextmanager
async def serving(calls: Calls, method: str, context: ServicerContext) -> AsyncIterator[Served]:
    """Names, times and counts a call, and turns what it raises into a status."""
    headers = headers_of(context)
    request_id = request_id_from(headers.get(REQUEST_ID))
    with calls.serving("grpc", request_id, method, headers) as served:
        try:
            await context.send_initial_metadata(((REQUEST_ID, request_id),))
            yield served
            served.succeeded()
        except BaseException as error:  # noqa: BLE001 - `failure` raises again what is not for us
            left = context.time_remaining()
            if left is not None and left <= 0:  # gRPC cancels a call whose deadline has passed
                served.outcome = DeadlineExceeded.reason.lower()
            await abort(context, calls.failure(error, served), request_id)
