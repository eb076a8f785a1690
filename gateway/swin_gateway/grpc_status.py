"""`ServingError` -> the gRPC status that ends a call, with its details."""

from __future__ import annotations

from typing import Any, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from swin_gateway.errors import ServingError
from swin_gateway.request_id import REQUEST_ID


class AbortingContext(Protocol):
    """What is used of grpc.aio's context."""

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any = ()) -> None: ...


async def abort(context: AbortingContext, error: ServingError, request_id: str) -> None:
    """Raises, as grpc's own abort does."""
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
