"""How gRPC says that a call failed -> a SwinserveError with all that the service said."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from .errors import UNREACHABLE, InternalError, SwinserveError, TooLarge, Unavailable, error_class
from .transport import Call

Kind = type[SwinserveError]

# What an error says beside its code and message.
DETAILS: tuple[tuple[Any, Callable[[Any], dict[str, Any]]], ...] = (
    (error_details_pb2.ErrorInfo, lambda info: {"reason": info.reason}),
    (error_details_pb2.RequestInfo, lambda info: {"request_id": info.request_id}),
    (error_details_pb2.RetryInfo, lambda info: {"retry_after": info.retry_delay.ToMicroseconds() / 1e6}),
)


def failure(error: grpc.RpcError, url: str, call: Call) -> SwinserveError:
    """Of a blocking call and of one that is awaited alike."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return InternalError(f"gRPC failed without a status: {error!r}", request_id=call.request_id)
    code, message = error.code().name, error.details() or ""
    metadata = joined(error.initial_metadata(), error.trailing_metadata())
    facts = {"request_id": metadata.get("x-request-id", call.request_id)}
    facts |= _details(metadata.get("grpc-status-details-bin", b""))
    kind = error_class(reason=facts.get("reason", ""), code=code)
    if "reason" not in facts:
        kind, facts["reason"], message = _without_reason(kind, code, message, url)
    # For people with a generic client the service puts the id into the message as well; here it is a field.
    return kind(message.removesuffix(f" (request {facts['request_id']})"), code=code, **facts)


def joined(*metadata: Any) -> Mapping[str, Any]:
    return {key: value for part in metadata for key, value in part or ()}


def _without_reason(kind: Kind, code: str, message: str, url: str) -> tuple[Kind, str, str]:
    """gRPC itself failed, not the service: only its words tell why."""
    if code == "UNAVAILABLE":
        return kind, UNREACHABLE, f"cannot reach {url}: {message.split('last error: ')[-1]}"
    if code == "CANCELLED":
        # We cancel nothing: a server that shuts down does this to calls that it had not begun.
        return Unavailable, UNREACHABLE, f"{url} shut down before it took the call"
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in message:
        return TooLarge, "TOO_LARGE", message
    if code == "DEADLINE_EXCEEDED":
        return kind, code, f"{url} did not answer in time: {message}"
    return kind, "", message


def _details(packed: bytes) -> dict[str, Any]:
    """A serialized google.rpc.Status -> what its details say: reason, request_id, retry_after."""
    facts: dict[str, Any] = {}
    for detail in status_pb2.Status.FromString(packed).details:
        for message, read in DETAILS:
            if detail.Is(message.DESCRIPTOR):
                facts |= read(message.FromString(detail.value))
    return facts
