"""What can go wrong with a call, each error knowing its HTTP status, its gRPC status and its stable reason.

The adapters render these and nothing else; DESIGN: one table, two renderings.

    ServingError
     ├── InvalidRequest        400  INVALID_ARGUMENT
     │    ├── TooLarge         413
     │    ├── HeadersTooLarge  431
     │    ├── UnsupportedType  415
     │    └── Undecodable      422
     ├── Unauthenticated       401  UNAUTHENTICATED
     ├── PermissionDenied      403  PERMISSION_DENIED
     ├── NotFound              404  NOT_FOUND
     │    └── ModelNotFound
     │         └── ModelVersionNotFound
     ├── Overloaded            429  RESOURCE_EXHAUSTED   + retry_after
     │    └── DeadlineUnreachable
     ├── RateLimited           429  RESOURCE_EXHAUSTED   + retry_after
     ├── Cancelled             499  CANCELLED
     ├── InternalError         500  INTERNAL             fixed text
     ├── NotReady              503  UNAVAILABLE          + retry_after
     │    ├── Draining
     │    └── WorkerLost
     └── DeadlineExceeded      504  DEADLINE_EXCEEDED
          └── TooSlow          408
"""

from __future__ import annotations

from typing import ClassVar, Self

from grpc import StatusCode


class ServingError(Exception):
    """A call's or an image's failure; `message` is written for the caller and says what to do."""

    http: ClassVar[int] = 500
    grpc: ClassVar[StatusCode] = StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    retry_after: float | None = None
    """Seconds after which trying again makes sense; None when it does not."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after

    def of_image(self, number: int) -> Self:
        """As the failure of a call with several images; number: from 0"""
        self.message = f"image {number}: {self.message}"
        return self

    @property
    def outcome(self) -> str:
        """The metric label of this failure, e.g. "too_large"."""
        return self.reason.lower()


class InvalidRequest(ServingError):
    http, grpc, reason = 400, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"


class TooLarge(InvalidRequest):
    http, reason = 413, "TOO_LARGE"


class HeadersTooLarge(InvalidRequest):
    http, reason = 431, "HEADERS_TOO_LARGE"


class UnsupportedType(InvalidRequest):
    http, reason = 415, "UNSUPPORTED_TYPE"


class Undecodable(InvalidRequest):
    http, reason = 422, "UNDECODABLE"


class Unauthenticated(ServingError):
    http, grpc, reason = 401, StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"


class PermissionDenied(ServingError):
    http, grpc, reason = 403, StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"


class NotFound(ServingError):
    http, grpc, reason = 404, StatusCode.NOT_FOUND, "NOT_FOUND"


class ModelNotFound(NotFound):
    reason = "MODEL_NOT_FOUND"


class ModelVersionNotFound(ModelNotFound):
    """Of a model that is served."""


class Overloaded(ServingError):
    http, grpc, reason = 429, StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"
    retry_after = 1.0


class DeadlineUnreachable(Overloaded):
    reason = "DEADLINE_UNREACHABLE"


class RateLimited(ServingError):
    """More than a token's limits leave; the service itself may be idle."""

    http, grpc, reason = 429, StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"
    retry_after = 1.0


class Cancelled(ServingError):
    http, grpc, reason = 499, StatusCode.CANCELLED, "CANCELLED"


class InternalError(ServingError):
    """A bug, here or in the worker. The text is fixed: what happened is in the log, under the request id."""

    def __init__(self) -> None:
        super().__init__("the service failed to answer this; the operator finds the cause under the request id")


class NotReady(ServingError):
    http, grpc, reason = 503, StatusCode.UNAVAILABLE, "NOT_READY"
    retry_after = 1.0


class Draining(NotReady):
    reason = "DRAINING"


class WorkerLost(NotReady):
    reason = "WORKER_LOST"


class DeadlineExceeded(ServingError):
    http, grpc, reason = 504, StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"


class TooSlow(DeadlineExceeded):
    """Before there is a call that could have a deadline."""

    http, reason = 408, "TOO_SLOW"


class StartError(Exception):
    """The service cannot start: one line for the operator; the command exits with code 2."""
