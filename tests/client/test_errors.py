"""Every failure of either protocol becomes one exception of ours, the same for both."""

import inspect
import pickle
import re
from pathlib import Path

import grpc
import httpx
import pytest

import swinserve
from swinserve import Client, DeadlineExceeded, InternalError, InvalidRequest, SwinserveError, TooLarge, Unavailable
from swinserve.errors import CASES, error_class
from swinserve.http_errors import FOREIGN, HTTPX_ERRORS, foreign

from .conftest import Service
from .contract import REASONS

CLASSES = {
    "INVALID_REQUEST": swinserve.InvalidRequest,
    "UNAUTHENTICATED": swinserve.Unauthenticated,
    "PERMISSION_DENIED": swinserve.PermissionDenied,
    "MODEL_NOT_FOUND": swinserve.NotFound,
    "TOO_LARGE": swinserve.TooLarge,
    "UNSUPPORTED_TYPE": swinserve.UnsupportedType,
    "UNDECODABLE": swinserve.UndecodableImage,
    "RATE_LIMITED": swinserve.Overloaded,
    "OVERLOADED": swinserve.Overloaded,
    "DEADLINE_UNREACHABLE": swinserve.Overloaded,
    "CANCELLED": swinserve.Cancelled,
    "INTERNAL": swinserve.InternalError,
    "NOT_READY": swinserve.Unavailable,
    "DRAINING": swinserve.Unavailable,
    "WORKER_LOST": swinserve.Unavailable,
    "DEADLINE_EXCEEDED": swinserve.DeadlineExceeded,
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_its_exception_with_all_that_the_service_said(client: Client, reason: str) -> None:
    with pytest.raises(SwinserveError) as caught:
        client.classify(b"a", model=f"fail {reason}", request_id="mine")
    error = caught.value
    code, http, wait = REASONS[reason]
    assert type(error) is CLASSES[reason]
    assert (error.code, error.http, error.reason) == (code, http, reason)
    assert (error.message, error.request_id, error.retry_after) == (f"refused: {reason}", "mine", wait)
    assert str(error) == f"refused: {reason} ({reason}, request mine)"


def test_every_class_of_the_tree_is_exported_drawn_and_reached_by_a_reason() -> None:
    tree = set(SwinserveError.__subclasses__())
    assert tree == {case.error for case in CASES if case.reason}
    assert {kind.__name__ for kind in tree} <= set(swinserve.__all__)
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d+)", inspect.getdoc(swinserve.errors) or ""))
    assert drawn == {kind.__name__: str(kind.http) for kind in tree}
    page = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    assert (inspect.getdoc(swinserve.errors) or "").partition("\n\n")[2] in page


def test_every_grpc_status_is_in_the_table() -> None:
    known = {case.code for case in CASES}
    assert {status.name for status in grpc.StatusCode} - known == {"OK"}


def _leaves(kinds: list[type[Exception]]) -> list[type[Exception]]:
    return [kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds)]


def test_every_httpx_exception_is_in_the_table() -> None:
    public = [getattr(httpx, name) for name in httpx.__all__]
    kinds = _leaves([kind for kind in public if inspect.isclass(kind) and issubclass(kind, Exception)])
    assert len(kinds) > 15
    unmapped = [kind for kind in kinds if not any(issubclass(kind, theirs) for theirs, _, _ in FOREIGN)]
    uncaught = [kind for kind in kinds if not issubclass(kind, HTTPX_ERRORS)]
    assert (unmapped, uncaught) == ([], [])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectTimeout("slow"), Unavailable),
        (httpx.ReadTimeout("slow"), DeadlineExceeded),
        (httpx.ConnectError("refused"), Unavailable),
        (httpx.RemoteProtocolError("went away"), Unavailable),
        (httpx.LocalProtocolError("bad header"), InvalidRequest),
        (httpx.TooManyRedirects("round"), InternalError),
        (httpx.HTTPError("one that httpx adds next year"), InternalError),
    ],
)
def test_httpx_exceptions_become_ours(error: Exception, expected: type[SwinserveError]) -> None:
    kind, _, message = foreign(error, "http://host", 1.5)
    assert kind is expected
    assert "http://host" in message


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        (301, "InternalError"),
        (404, "NotFound"),
        (405, "InvalidRequest"),
        (408, "DeadlineExceeded"),
        (413, "TooLarge"),
        (502, "Unavailable"),
        (599, "InternalError"),
    ],
)
def test_a_status_without_a_body_of_ours_still_gets_an_exception(http: int, expected: str) -> None:
    assert error_class(http=http).__name__ == expected


def test_an_error_from_elsewhere_is_told_by_its_status(client: Client, service: Service) -> None:
    status = "NOT_FOUND" if service.url.startswith("grpc") else "404"
    with pytest.raises(swinserve.NotFound) as caught:
        client.classify(b"a", model="status", version=status, request_id="mine")
    assert (caught.value.reason, caught.value.request_id, caught.value.retry_after) == ("", "mine", None)
    assert (caught.value.code, caught.value.http) == ("NOT_FOUND", 404)


def test_a_call_that_a_closing_server_did_not_begin_is_unavailable(client: Client, service: Service) -> None:
    """gRPC ends it with CANCELLED, though nobody here has cancelled anything."""
    status = "CANCELLED" if service.url.startswith("grpc") else "503"
    with pytest.raises(Unavailable):
        client.classify(b"a", model="status", version=status)


def test_nobody_listening_is_unavailable_and_names_the_address(nobody: str) -> None:
    with Client(nobody) as client, pytest.raises(Unavailable, match=f"cannot reach {nobody}") as caught:
        client.classify(b"a", request_id="mine")
    assert (caught.value.reason, caught.value.request_id, caught.value.http) == ("UNREACHABLE", "mine", 503)


def test_a_service_that_does_not_answer_in_time_is_given_up(client: Client) -> None:
    with pytest.raises(DeadlineExceeded, match="did not answer") as caught:
        client.classify(b"a", model="hang", timeout=0.2, request_id="mine")
    assert (caught.value.reason, caught.value.request_id) == ("DEADLINE_EXCEEDED", "mine")


def test_too_few_results_are_the_services_fault(client: Client) -> None:
    with pytest.raises(InternalError, match="2 images were sent and 1 results came back"):
        client.classify_many([b"a", b"b"], model="short")


@pytest.mark.parametrize("version", ["text", "keys", "type", "null"])
@pytest.mark.parametrize("running", ["http"], indirect=True)
def test_an_answer_that_no_swinserve_gives_is_an_internal_error(client: Client, version: str) -> None:
    with pytest.raises(InternalError, match="does not answer as Swinserve does"):
        client.classify(b"a", model="broken", version=version)


@pytest.mark.parametrize("running", ["grpc"], indirect=True)
def test_a_message_over_grpcs_own_limit_is_too_large(client: Client) -> None:
    with pytest.raises(TooLarge, match="larger than max") as caught:
        client.classify(b"x" * 21_000_000)
    assert (caught.value.code, caught.value.reason) == ("RESOURCE_EXHAUSTED", "TOO_LARGE")


def test_a_top_k_beyond_all_bounds_is_no_foreign_exception(client: Client, service: Service) -> None:
    if service.url.startswith("grpc"):
        with pytest.raises(InvalidRequest, match="out of range"):
            client.classify(b"a", top_k=10**12)
    else:
        client.classify(b"a", top_k=10**12)
        assert service.seen[0].top_k == 10**12


def test_an_error_survives_pickling() -> None:
    error = swinserve.Overloaded("full", reason="OVERLOADED", request_id="mine", retry_after=1.5)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy), str(copy)) == (type(error), vars(error), str(error))
