"""A worker's `Result` -> what the caller gets of that image: an `ImageResult`, or the error that stands for it.

misfit (held against job and manifest: nothing is believed before) → read_result → image_result
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import structlog

from swin_gateway.archive import Manifest
from swin_gateway.errors import (
    DeadlineExceeded,
    InternalError,
    NotReady,
    ServingError,
    TooLarge,
    Undecodable,
    UnsupportedType,
)
from swin_gateway.model import ServedModel
from swin_gateway.options import FLOAT_BYTES
from swin_proto import CONTRACT_VERSION
from swin_proto.v1.classifier_pb2 import ImageError, ImageResult, Predictions, Region, Tensor
from swin_proto.worker.v1.job_pb2 import ActivationMaps, Answer, Error, Job, Result

log = structlog.get_logger("result")

WORKER_ERRORS: dict[int, type[ServingError]] = {
    Error.EXPIRED: DeadlineExceeded,
    Error.UNSUPPORTED_TYPE: UnsupportedType,
    Error.UNDECODABLE: Undecodable,
    Error.TOO_LARGE: TooLarge,
    Error.OUT_OF_MEMORY: NotReady,
}
"""What the worker says -> what the caller hears; any other kind is a bug (InternalError)."""


def misfit(answer: Answer, job: Job, model: Manifest) -> str:
    """Why `answer` is none to one image of `job` that a worker of `model` may give, for the log; empty if it is one."""
    if answer.contract_version != CONTRACT_VERSION:
        return f"contract_version is {answer.contract_version}, not {CONTRACT_VERSION}"
    if len(answer.results) != 1:
        return f"results: {len(answer.results)} for one image"
    found = [result for result in answer.results if result.WhichOneof("outcome") == "top_k"]
    return next((reason for result in found if (reason := _misfit(result, job, model))), "")


def _misfit(result: Result, job: Job, model: Manifest) -> str:
    top, maps = result.top_k, result.activation_maps
    if len(top.indices) > job.top_k or any(index >= model.num_classes for index in top.indices):
        return f"classes: {len(top.indices)} of {job.top_k}, up to {max(top.indices)} in {model.num_classes}"
    shape = (model.activation_map or (0, 0)) if job.class_activation_map else (0, 0)
    numbers = model.embedding_size if job.embedding else 0
    expected = (
        ("scores", len(top.scores), len(top.indices)),
        ("bytes of the embedding", len(result.embedding), FLOAT_BYTES * numbers),
        ("shape of the maps", (maps.height, maps.width), shape),
        ("bytes of the maps", len(maps.data), FLOAT_BYTES * len(top.indices) * math.prod(shape)),
    )
    for what, got, wanted in expected:
        if got != wanted:
            return f"{what}: {got}, not {wanted}"
    if job.class_activation_map and not (maps.left < maps.right and maps.top < maps.bottom):
        return "the region of the maps is empty"
    return ""


def read_result(result: Result, job: Job, model: ServedModel) -> ImageResult:
    """Of a fitting result. The numbers are the worker's own bytes; each map is cut out of them, nothing is computed.

    Raises:
        ServingError: the worker's answer is an error.
    """
    if result.WhichOneof("outcome") != "top_k":
        raise _error(result.error, job, model)
    image = ImageResult(predictions=Predictions())
    # Filled in place: protobuf would copy each message that it is given.
    predictions = image.predictions
    for index, score in zip(result.top_k.indices, result.top_k.scores, strict=True):
        predictions.predictions.add(label=model.labels[index], index=index, score=score)
    if job.embedding:
        _fill(predictions.embedding, (model.manifest.embedding_size,), result.embedding)
    if job.class_activation_map:
        _fill_maps(predictions, result.activation_maps)
    return image


def _fill_maps(predictions: Predictions, maps: ActivationMaps) -> None:
    data, size = maps.data, FLOAT_BYTES * maps.height * maps.width
    for number, prediction in enumerate(predictions.predictions):
        _fill(prediction.class_activation_map, (maps.height, maps.width), data[number * size : (number + 1) * size])
    region = Region(left=maps.left, top=maps.top, right=maps.right, bottom=maps.bottom)
    predictions.map_region.CopyFrom(region)


def _fill(tensor: Tensor, shape: Iterable[int], data: bytes) -> None:
    tensor.shape.extend(shape)
    tensor.data = data


def _error(error: Error, job: Job, model: ServedModel) -> ServingError:
    kind = WORKER_ERRORS.get(error.kind)
    if kind is None:
        log.error("worker error", model=model.name, message=error.message, request_id=job.request_id)
        return InternalError()
    return kind(error.message)


def image_result(result: ImageResult | ServingError) -> ImageResult:
    """An error as the message that stands in for an image's predictions."""
    if isinstance(result, ImageResult):
        return result
    code: int = result.grpc.value[0]
    return ImageResult(error=ImageError(code=code, reason=result.reason, message=result.message))
