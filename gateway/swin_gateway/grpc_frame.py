"""What every gRPC call gets, whatever it asks: a request id, a grant, a place in the metrics, a status with details."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from swin_gateway.calls import Calls, Served
from swin_gateway.errors import DeadlineExceeded, ServingError
from swin_gateway.request_id import REQUEST_ID, request_id_from


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
            await _abort(context, calls.failure(error, served), request_id)


async def _abort(context: ServicerContext, error: ServingError, request_id: str) -> None:
    details: list[Message] = [
        ErrorInfo(reason=error.reason, domain="swinserve"),
        RequestInfo(request_id=request_id),
    ]
    if error.retry_after is not None:
        seconds = int(error.retry_after)
        details.append(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=int((error.retry_after - seconds) * 1e9))))
    message = f"{error.message} (request {request_id})"
    status = Status(code=error.grpc.value[0], message=message, details=[_packed(detail) for detail in details])
    trailing = ((REQUEST_ID, request_id), ("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(error.grpc, message, trailing)


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
