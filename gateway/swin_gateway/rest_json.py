"""The JSON of the REST answers: pydantic models that describe it in OpenAPI, and protobuf messages -> plain dicts.

The dicts are built by hand because protobuf's own JSON would print int64 as strings and codes as numbers.
"""

from __future__ import annotations

from typing import Any

from grpc import StatusCode
from pydantic import BaseModel, Field

from swin_gateway.errors import ServingError
from swin_proto.v1.classifier_pb2 import ClassifyResponse, ImageResult, Model

CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in StatusCode}


class ErrorJson(BaseModel):
    code: str = Field(description="the gRPC status name, e.g. INVALID_ARGUMENT")
    reason: str = Field(description="a stable word for programs, e.g. TOO_LARGE")
    message: str = Field(description="what was wrong and what to do about it")
    request_id: str


class ErrorBody(BaseModel):
    error: ErrorJson


class PredictionJson(BaseModel):
    label: str
    index: int
    score: float = Field(description="softmax probability, 0..1")


class ResultJson(BaseModel):
    """Either predictions, best first, or the image's own error."""

    predictions: list[PredictionJson] | None = None
    error: ErrorJson | None = None


class TimingJson(BaseModel):
    """Seconds of the slowest image's stages."""

    queue: float
    batch_wait: float
    decode: float
    inference: float


class ClassifyJson(BaseModel):
    model: str
    version: str
    backend: str
    dtype: str
    results: list[ResultJson]
    timing: TimingJson


class ModelJson(BaseModel):
    name: str
    version: str
    versions: list[str]
    ready: bool
    architecture: str
    input_height: int
    input_width: int
    labels: list[str]
    parameters: int
    multiply_adds: int
    dtype: str
    backend: str
    backend_reason: str
    batch_buckets: list[int]
    weights: str


class ModelsJson(BaseModel):
    models: list[ModelJson]


class StateJson(BaseModel):
    """The body of /livez and /readyz."""

    status: str
    models: dict[str, bool] = {}


def error_body(error: ServingError, request_id: str) -> dict[str, Any]:
    return {"error": _error(error.grpc.name, error.reason, error.message, request_id)}


def response_body(response: ClassifyResponse, request_id: str) -> dict[str, Any]:
    timing = response.timing
    return {
        "model": response.model,
        "version": response.version,
        "backend": response.backend,
        "dtype": response.dtype,
        "results": [_result(result, request_id) for result in response.results],
        "timing": {
            "queue": timing.queue,
            "batch_wait": timing.batch_wait,
            "decode": timing.decode,
            "inference": timing.inference,
        },
    }


def model_body(model: Model) -> dict[str, Any]:
    return {
        field: list(value) if field in ("versions", "labels", "batch_buckets") else value
        for field in ModelJson.model_fields
        for value in (getattr(model, field),)
    }


def _result(result: ImageResult, request_id: str) -> dict[str, Any]:
    if result.WhichOneof("outcome") == "error":
        error = result.error
        return {"error": _error(CODE_NAMES[error.code], error.reason, error.message, request_id)}
    return {
        "predictions": [
            {"label": each.label, "index": each.index, "score": each.score} for each in result.predictions.predictions
        ]
    }


def _error(code: str, reason: str, message: str, request_id: str) -> dict[str, str]:
    return {"code": code, "reason": reason, "message": message, "request_id": request_id}
