"""One table, two renderings: DESIGN §4's statuses, written down a second time, in both adapters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from swin_gateway.errors import InternalError, ModelVersionNotFound, ServingError
from swin_proto.v1.classifier_pb2 import ClassifyRequest
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .assembly import PNG, Gateway

# name -> HTTP, gRPC, whether it says when to try again
TABLE = {
    "ServingError": (500, "INTERNAL", False),
    "InvalidRequest": (400, "INVALID_ARGUMENT", False),
    "TooLarge": (413, "INVALID_ARGUMENT", False),
    "HeadersTooLarge": (431, "INVALID_ARGUMENT", False),
    "UnsupportedType": (415, "INVALID_ARGUMENT", False),
    "Undecodable": (422, "INVALID_ARGUMENT", False),
    "Unauthenticated": (401, "UNAUTHENTICATED", False),
    "PermissionDenied": (403, "PERMISSION_DENIED", False),
    "NotFound": (404, "NOT_FOUND", False),
    "ModelNotFound": (404, "NOT_FOUND", False),
    "ModelVersionNotFound": (404, "NOT_FOUND", False),
    "Overloaded": (429, "RESOURCE_EXHAUSTED", True),
    "DeadlineUnreachable": (429, "RESOURCE_EXHAUSTED", True),
    "RateLimited": (429, "RESOURCE_EXHAUSTED", True),
    "Cancelled": (499, "CANCELLED", False),
    "InternalError": (500, "INTERNAL", False),
    "NotReady": (503, "UNAVAILABLE", True),
    "Draining": (503, "UNAVAILABLE", True),
    "WorkerLost": (503, "UNAVAILABLE", True),
    "DeadlineExceeded": (504, "DEADLINE_EXCEEDED", False),
    "TooSlow": (408, "DEADLINE_EXCEEDED", False),
}


def every(kind: type[ServingError]) -> Iterator[type[ServingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every(child)


KINDS = [kind for kind in every(ServingError) if kind.__module__ == "swin_gateway.errors"]


def raised(kind: type[ServingError]) -> ServingError:
    return kind() if kind is InternalError else kind("what to do: 3×3")  # type: ignore[call-arg]


def refuse_with(served: Gateway, error: ServingError, monkeypatch: pytest.MonkeyPatch) -> None:
    async def classify(call: Any) -> None:
        raise error

    monkeypatch.setattr(served.classifier, "classify", classify)


def test_the_table_has_every_error_there_is() -> None:
    assert {kind.__name__ for kind in KINDS} == set(TABLE)


def test_every_error_that_is_one_of_its_own_has_a_reason_of_its_own() -> None:
    # A missing version is a missing model to all but TorchServe's users.
    reasons = [kind.reason for kind in KINDS if kind not in (ServingError, ModelVersionNotFound)]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("kind", KINDS)
async def test_rest_renders_the_status_of_the_table(
    kind: type[ServingError], served: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = raised(kind)
    refuse_with(served, error, monkeypatch)
    async with served.rest() as client:
        response = await client.post("/v1/models/digits:classify", content=PNG, headers={"x-request-id": "mine"})
    http, code, waits = TABLE[kind.__name__]
    assert response.status_code == http
    assert response.json() == {
        "error": {"code": code, "reason": kind.reason, "message": error.message, "request_id": "mine"}
    }
    assert response.headers["x-request-id"] == "mine"
    assert ("retry-after" in response.headers) is waits


@pytest.mark.parametrize("kind", KINDS)
async def test_grpc_renders_the_status_of_the_table(
    kind: type[ServingError], served: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = raised(kind)
    refuse_with(served, error, monkeypatch)
    async with served.grpc() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await ClassifierStub(channel).Classify(ClassifyRequest(), metadata=(("x-request-id", "mine"),))
    _, code, waits = TABLE[kind.__name__]
    assert refusal.value.code().name == code
    assert refusal.value.details() == f"{error.message} (request mine)"
    trailing = dict(refusal.value.trailing_metadata())
    assert trailing["x-request-id"] == "mine"
    status = Status.FromString(trailing["grpc-status-details-bin"])
    assert status.code == refusal.value.code().value[0]
    info, request, *retry = status.details
    assert unpacked(info, ErrorInfo()) == ErrorInfo(reason=kind.reason, domain="swinserve")
    assert unpacked(request, RequestInfo()).request_id == "mine"
    assert [unpacked(each, RetryInfo()).retry_delay.seconds for each in retry] == ([1] if waits else [])


def test_the_wait_can_be_longer_than_the_usual_one() -> None:
    error = next(kind for kind in KINDS if kind.__name__ == "Overloaded")("full", retry_after=7.0)
    assert error.retry_after == 7.0


def unpacked(packed: Any, message: Any) -> Any:
    assert packed.Unpack(message)
    return message
