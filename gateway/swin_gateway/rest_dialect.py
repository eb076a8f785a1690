"""A REST path -> in whose words its failures are told: ours, those of the Open Inference Protocol, or TorchServe's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from fastapi.responses import JSONResponse

from swin_gateway.errors import InvalidRequest, ModelNotFound, ModelVersionNotFound, ServingError, Unauthenticated
from swin_gateway.rest_json import error_body

TORCHSERVE_TYPES = {
    400: "BadRequestException",
    404: "ResourceNotFoundException",
    405: "MethodNotAllowedException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
"""Status -> the name of TorchServe's exception; where it has none, our reason stands."""
TORCHSERVE_MISSING: dict[type[ServingError], str] = {
    ModelNotFound: "ModelNotFoundException",
    ModelVersionNotFound: "ModelVersionNotFoundException",
}
"""What 404 does not tell."""


class WrongMethod(InvalidRequest):
    """HTTP's alone: the path is there, and takes another method."""

    http = 405


class Dialect(NamedTuple):
    prefix: str
    method: str
    """Of a call that classifies, in the metrics."""
    error: Callable[[ServingError, str], dict[str, Any]]
    """A failure with the request's id as JSON."""


def oip_error(error: ServingError, request_id: str) -> dict[str, Any]:
    return {"error": f"{error.message} (request {request_id})"}


def torchserve_error(error: ServingError, request_id: str) -> dict[str, Any]:
    known = TORCHSERVE_MISSING.get(type(error)) or TORCHSERVE_TYPES.get(error.http)
    message = f"{error.message} (request {request_id})"
    return {"code": error.http, "type": known or error.reason, "message": message}


OURS = Dialect("", "Classify", error_body)
DIALECTS = (
    Dialect("/v2/", "ModelInfer", oip_error),
    Dialect("/predictions/", "Predictions", torchserve_error),
    Dialect("/ping/", "", torchserve_error),
    OURS,
)


def dialect_of(path: str) -> Dialect:
    return next(each for each in DIALECTS if f"{path}/".startswith(each.prefix))


def error_response(error: ServingError, request_id: str, path: str) -> JSONResponse:
    headers = {} if error.retry_after is None else {"retry-after": str(math.ceil(error.retry_after))}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(dialect_of(path).error(error, request_id), error.http, headers)
