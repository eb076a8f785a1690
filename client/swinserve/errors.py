"""What a call can fail with: one tree, the same over gRPC and REST.

SwinserveError
├── InvalidRequest       400  malformed request, option out of range
├── Unauthenticated      401  no or wrong credentials
├── PermissionDenied     403  credentials that do not allow this
├── NotFound             404  no such model or version
├── TooLarge             413  body or image too large, in bytes or pixels
├── UnsupportedType      415  not an image type the service takes
├── UndecodableImage     422  truncated or corrupt
├── Overloaded           429  shed: queue full, too many for the token, or the deadline cannot be met   (tried again)
├── Cancelled            499  the call was cancelled
├── InternalError        500  a bug, or an answer that no Swinserve gives
├── Unavailable          503  not reachable, not ready, draining, worker lost   (tried again)
└── DeadlineExceeded     504  the deadline passed
"""

from typing import NamedTuple

UNREACHABLE = "UNREACHABLE"
"""The one reason that the client itself gives: there was no connection, or it broke before an answer."""


class SwinserveError(Exception):
    """A call that failed, or one image of a call that did.

    `message` is for people; `reason` is a stable word for programs, such as "UNDECODABLE", or "" where whoever answered
    gave none. `code` is the gRPC status name and `http` the HTTP status. `request_id` names the call in the service's
    log. `retry_after` is in seconds, None where the service did not say when to try again.
    """

    code = "UNKNOWN"
    http = 500

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        http: int = 0,
        reason: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.http = http or type(self).http
        self.reason = reason
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        marks = [self.reason or self.code] + [f"request {self.request_id}"] * bool(self.request_id)
        return f"{self.message} ({', '.join(marks)})"


class InvalidRequest(SwinserveError):
    """The request is malformed or an option is out of range."""

    code, http = "INVALID_ARGUMENT", 400


class Unauthenticated(SwinserveError):
    """There are no credentials, or wrong ones."""

    code, http = "UNAUTHENTICATED", 401


class PermissionDenied(SwinserveError):
    """The credentials do not allow this."""

    code, http = "PERMISSION_DENIED", 403


class NotFound(SwinserveError):
    """The model or the version is not served."""

    code, http = "NOT_FOUND", 404


class TooLarge(SwinserveError):
    """The body or an image is too large, in bytes or in pixels."""

    code, http = "INVALID_ARGUMENT", 413


class UnsupportedType(SwinserveError):
    """The bytes are not of an image type that the service takes."""

    code, http = "INVALID_ARGUMENT", 415


class UndecodableImage(SwinserveError):
    """The image is truncated or corrupt."""

    code, http = "INVALID_ARGUMENT", 422


class Overloaded(SwinserveError):
    """The service shed the call: its queue is full, or it cannot meet the deadline. See `retry_after`."""

    code, http = "RESOURCE_EXHAUSTED", 429


class Cancelled(SwinserveError):
    """The call was cancelled."""

    code, http = "CANCELLED", 499


class InternalError(SwinserveError):
    """A bug in the service, or an answer that no Swinserve service gives."""

    code, http = "INTERNAL", 500


class Unavailable(SwinserveError):
    """The service is not reachable, not ready, draining, or lost the worker that had the call."""

    code, http = "UNAVAILABLE", 503


class DeadlineExceeded(SwinserveError):
    """The deadline passed before there was an answer."""

    code, http = "DEADLINE_EXCEEDED", 504


class Case(NamedTuple):
    """One line of the contract's error table."""

    reason: str
    code: str
    http: int
    error: type[SwinserveError]


# A reason decides. Without one (a proxy, another server, gRPC itself) the first line with that status does, so the
# order of lines with the same status matters.
CASES = (
    Case("INVALID_REQUEST", "INVALID_ARGUMENT", 400, InvalidRequest),
    Case("UNAUTHENTICATED", "UNAUTHENTICATED", 401, Unauthenticated),
    Case("PERMISSION_DENIED", "PERMISSION_DENIED", 403, PermissionDenied),
    Case("MODEL_NOT_FOUND", "NOT_FOUND", 404, NotFound),
    Case("TOO_LARGE", "INVALID_ARGUMENT", 413, TooLarge),
    Case("UNSUPPORTED_TYPE", "INVALID_ARGUMENT", 415, UnsupportedType),
    Case("UNDECODABLE", "INVALID_ARGUMENT", 422, UndecodableImage),
    Case("OVERLOADED", "RESOURCE_EXHAUSTED", 429, Overloaded),
    Case("RATE_LIMITED", "RESOURCE_EXHAUSTED", 429, Overloaded),
    Case("DEADLINE_UNREACHABLE", "RESOURCE_EXHAUSTED", 429, Overloaded),
    Case("CANCELLED", "CANCELLED", 499, Cancelled),
    Case("INTERNAL", "INTERNAL", 500, InternalError),
    Case("NOT_READY", "UNAVAILABLE", 503, Unavailable),
    Case("DRAINING", "UNAVAILABLE", 503, Unavailable),
    Case("WORKER_LOST", "UNAVAILABLE", 503, Unavailable),
    Case("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504, DeadlineExceeded),
    # Below: statuses that the service never gives, but something between it and us may.
    Case("", "OUT_OF_RANGE", 400, InvalidRequest),
    Case("", "FAILED_PRECONDITION", 400, InvalidRequest),
    Case("", "DEADLINE_EXCEEDED", 408, DeadlineExceeded),
    Case("", "ABORTED", 409, InvalidRequest),
    Case("", "ALREADY_EXISTS", 409, InvalidRequest),
    Case("", "UNKNOWN", 500, InternalError),
    Case("", "DATA_LOSS", 500, InternalError),
    Case("", "UNIMPLEMENTED", 501, InternalError),
    Case("", "UNAVAILABLE", 502, Unavailable),
)


def error_class(*, reason: str = "", code: str = "", http: int = 0) -> type[SwinserveError]:
    """The class for what either protocol said; an unknown 4xx is the caller's fault, anything else a bug."""
    for field, value in (("reason", reason), ("http", http), ("code", code)):
        for case in CASES:
            if value and getattr(case, field) == value:
                return case.error
    return InvalidRequest if 400 <= http < 500 else InternalError
