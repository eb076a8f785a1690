"""Refuses gRPC calls without the right token, reflection and unknown methods included, before a message is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from swin_gateway import scope_of
from swin_gateway.access import Access
from swin_gateway.calls import Calls
from swin_gateway.errors import ServingError
from swin_gateway.grpc_frame import serving


class GrpcAccess(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stub alone
    def __init__(self, access: Access, calls: Calls) -> None:
        self._access = access
        self._calls = calls

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's own handler, or one that refuses."""
        scope = scope_of.grpc(handler_call_details.method)
        if scope is not None:
            metadata: Any = handler_call_details.invocation_metadata
            try:
                self._access.admit(dict(metadata).get("authorization"), scope)
            except ServingError as error:
                # As a stream whatever was called: the handler of a single message would be given it first.
                return grpc.stream_stream_rpc_method_handler(self._refusal(scope.capitalize(), error))
        return await continuation(handler_call_details)

    def _refusal(self, method: str, error: ServingError) -> Any:
        async def refuse(_: Any, context: Any) -> None:
            async with serving(self._calls, method, context):
                raise error

        return refuse
