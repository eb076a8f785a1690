"""Calls with one message -> the same, but the message must come within the time that the call may take.

gRPC itself waits for a message as long as the client likes, and keeps what has come of it: our handlers, and so our
deadlines, begin only when it is whole.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from swin_gateway.calls import Calls
from swin_gateway.errors import DeadlineExceeded, InvalidRequest
from swin_gateway.grpc_frame import serving

OURS = ("/swinserve.v1.Classifier/", "/inference.GRPCInferenceService/")


class RequestReading(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Makes handlers that are called with the message of such that are called at once and read it."""

    def __init__(self, calls: Calls, time_limit: Callable[[float | None], float]) -> None:
        """time_limit: seconds that a call may take which asks for that many"""
        self._calls = calls
        self._time_limit = time_limit
        self._made: dict[str, tuple[Any, Any]] = {}
        """Method -> its handler and what was made of it."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        known, made = self._made.get(details.method, (None, None))
        if known is not handler:
            made = self._reading(handler, details.method)
            self._made[details.method] = handler, made
        return made

    def _reading(self, handler: Any, method: str) -> Any:
        answer = handler.unary_stream if handler.response_streaming else handler.unary_unary
        if inspect.isasyncgenfunction(answer):
            return handler

        async def read_and_answer(_: Any, context: Any) -> Any:
            return await answer(await self._read(method, handler.request_deserializer, context), context)

        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(read_and_answer, None, handler.response_serializer)

    async def _read(self, method: str, parse: Callable[[bytes], Any] | None, context: Any) -> Any:
        """The message; ends the call with a status where there is none, or no good one."""
        try:
            async with asyncio.timeout(self._time_limit(context.time_remaining())):
                raw = await context.read()
            if raw is grpc.aio.EOF:  # type: ignore[attr-defined]
                raise InvalidRequest("the call brought no message")
            return raw if parse is None else parse(raw)
        except TimeoutError:
            error: Any = DeadlineExceeded("the deadline passed while the request was being sent")
        except DecodeError:
            error = InvalidRequest("the message cannot be read as the type that this method takes")
        except (InvalidRequest, DeadlineExceeded) as refusal:
            error = refusal
        async with serving(self._calls, method.rpartition("/")[2] if method.startswith(OURS) else "", context):
            raise error
        raise AssertionError("abort raises")
