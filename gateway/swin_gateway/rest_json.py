"""The JSON of the REST answers: pydantic models that describe it in OpenAPI, and protobuf messages -> plain dicts.

The dicts are built by hand because protobuf's own JSON would print int64 as strings and codes as numbers.
"""

from __future__ import annotations

import base64
import struct
from typing import Any, Literal

from grpc import StatusCode
from pydantic import BaseModel, Field

from swin_gateway.errors import ServingError
from swin_gateway.rest_options import Form, RestOptions
from swin_proto.v1.classifier_pb2 import ClassifyResponse, ImageResult, Model, Predictions, Region, Tensor

CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in StatusCode}


class ErrorJson(BaseModel):
    code: str = Field(description="the gRPC status name, e.g. INVALID_ARGUMENT")
    reason: str = Field(description="a stable word for programs, e.g. TOO_LARGE")
    message: str = Field(description="what was wrong and what to do about it")
    request_id: str


class ErrorBody(BaseModel):
    error: ErrorJson


class TensorJson(BaseModel):
    """Numbers in base64."""

    shape: list[int]
    dtype: Literal["float32"]
    data: str = Field(description="base64 of the little-endian numbers, the last dimension fastest")


class RegionJson(BaseModel):
    """A rectangle of the upright image in fractions of its width and height; partly outside 0..1 where it is padded."""

    left: float
    top: float
    right: float
    bottom: float


class PredictionJson(BaseModel):
    label: str
    index: int
    score: float = Field(description="softmax probability, 0..1")
    class_activation_map: list[list[float]] | TensorJson | None = Field(
        None,
        description="rows and columns; their mean is the class's logit (bfloat16: nearly). Absent unless asked for",
    )


class ResultJson(BaseModel):
    """Either predictions, best first, with what was asked for beside them, or the image's own error."""

    predictions: list[PredictionJson] | None = Field(None, description="empty for a model without classes")
    embedding: list[float] | TensorJson | None = Field(
        None, description="the pooled features before the head. Absent unless asked for or the model has no classes"
    )
    map_region: RegionJson | None = Field(
        None, description="what part of the image the class activation maps cover. Absent unless they were asked for"
    )
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


class BackendTimingJson(BaseModel):
    """One backend in one batch bucket; the backends of a bucket were timed in turns, on one machine."""

    backend: str
    batch_bucket: int
    best_seconds: float = Field(description="of one forward pass of a full batch")
    median_seconds: float
    relative_l2: float = Field(description="how far its answers are from timm's in float64, on noise")
    chosen: bool = Field(description="for this batch bucket; for none while a safe default serves instead")


class ModelJson(BaseModel):
    name: str
    version: str
    versions: list[str]
    ready: bool
    architecture: str
    input_height: int
    input_width: int
    labels: list[str] = Field(description="empty for a model without classes")
    parameters: int
    multiply_adds: int
    dtype: str
    backend: str
    backend_reason: str = Field(description="why this backend, for a person; empty until a worker has answered")
    batch_buckets: list[int]
    weights: str
    embedding_size: int = Field(description="0 if it has no embedding to give")
    activation_map_height: int = Field(description="0 if it has no class activation map to give")
    activation_map_width: int
    backend_timings: list[BackendTimingJson] = Field(description="empty if nothing was timed")
    preprocessing: str = Field(description="how an image becomes the model's input, for a person")
    accuracy: str = Field(description="top-1 that is published of these weights, and by whom; empty if none is")
    licence: str = Field(description="of the weights, as who published them says; empty if nobody did")


class ModelsJson(BaseModel):
    models: list[ModelJson]


class StateJson(BaseModel):
    """The body of /livez and /readyz."""

    status: str
    models: dict[str, bool] = {}


def error_body(error: ServingError, request_id: str) -> dict[str, Any]:
    return {"error": _error(error.grpc.name, error.reason, error.message, request_id)}


def response_body(response: ClassifyResponse, asked: RestOptions, request_id: str) -> dict[str, Any]:
    timing = response.timing
    return {
        "model": response.model,
        "version": response.version,
        "backend": response.backend,
        "dtype": response.dtype,
        "results": [_result(result, asked, request_id) for result in response.results],
        "timing": {
            "queue": timing.queue,
            "batch_wait": timing.batch_wait,
            "decode": timing.decode,
            "inference": timing.inference,
        },
    }


def model_body(model: Model) -> dict[str, Any]:
    body = {field: getattr(model, field) for field in ModelJson.model_fields}
    lists = {field: list(body[field]) for field in ("versions", "labels", "batch_buckets")}
    timings = [
        {field: getattr(timing, field) for field in BackendTimingJson.model_fields} for timing in model.backend_timings
    ]
    return {**body, **lists, "backend_timings": timings}


def _result(result: ImageResult, asked: RestOptions, request_id: str) -> dict[str, Any]:
    if result.WhichOneof("outcome") == "error":
        error = result.error
        return {"error": _error(CODE_NAMES[error.code], error.reason, error.message, request_id)}
    answer = result.predictions
    body: dict[str, Any] = {"predictions": _predictions(answer, asked.class_activation_map)}
    if answer.HasField("embedding"):
        body["embedding"] = _numbers(answer.embedding, asked.embedding)
    if answer.HasField("map_region"):
        body["map_region"] = _region(answer.map_region)
    return body


def _predictions(answer: Predictions, form: Form) -> list[dict[str, Any]]:
    predictions = []
    for each in answer.predictions:
        body: dict[str, Any] = {"label": each.label, "index": each.index, "score": each.score}
        if each.HasField("class_activation_map"):
            body["class_activation_map"] = _numbers(each.class_activation_map, form)
        predictions.append(body)
    return predictions


def _numbers(tensor: Tensor, form: Form) -> Any:
    """A tensor of one or two dimensions as a (nested) list, or in base64."""
    shape = list(tensor.shape)
    if form == "base64":
        return {"shape": shape, "dtype": "float32", "data": base64.b64encode(tensor.data).decode()}
    rows = [list(row) for row in struct.iter_unpack(f"<{shape[-1]}f", tensor.data)]
    return rows if len(shape) > 1 else rows[0]


def _region(region: Region) -> dict[str, float]:
    return {"left": region.left, "top": region.top, "right": region.right, "bottom": region.bottom}


def _error(code: str, reason: str, message: str, request_id: str) -> dict[str, str]:
    return {"code": code, "reason": reason, "message": message, "request_id": request_id}
