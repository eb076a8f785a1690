"""Questions -> messages of swinserve.v1 -> results; nothing is sent here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from swin_proto.v1 import classifier_pb2 as pb

from .errors import InternalError, InvalidRequest, error_class
from .results import BackendTiming, Classification, ImageResult, Model, Prediction, Region, Timing
from .transport import Question

if TYPE_CHECKING:
    from .arrays import Array

T = TypeVar("T")
CODE_NAMES = {int(status.value[0]): status.name for status in grpc.StatusCode}


@dataclass(frozen=True)
class Exchange(Generic[T]):
    """A method of the service, what to send it, and how to read its answer: (message, request id) -> result."""

    method: str
    request: Message
    read: Callable[[Any, str], T]


def classify(question: Question) -> Exchange[Classification]:
    """InvalidRequest for an option that the message cannot hold."""
    return Exchange("Classify", _request(question), _classification)


def models() -> Exchange[list[Model]]:
    return Exchange("ListModels", pb.ListModelsRequest(), lambda answer, _: [_model(model) for model in answer.models])


def model(name: str, version: str) -> Exchange[Model]:
    return Exchange("GetModel", pb.GetModelRequest(model=name, version=version), lambda answer, _: _model(answer))


def read(exchange: Exchange[T], answer: Message, request_id: str, url: str) -> T:
    """InternalError where an array or a region is none."""
    try:
        return exchange.read(answer, request_id)
    except ValueError as error:
        message = f"{url} does not answer as Swinserve does: {error}"
        raise InternalError(message, request_id=request_id) from error


def _request(question: Question) -> pb.ClassifyRequest:
    try:
        return pb.ClassifyRequest(
            model=question.model,
            version=question.version,
            images=[pb.Image(content=image) for image in question.images],
            options=pb.ClassifyOptions(
                top_k=question.top_k,
                min_score=question.min_score,
                embedding=question.embedding,
                class_activation_map=question.class_activation_map,
            ),
        )
    except ValueError as error:
        # A top_k that no int32 holds: the service would refuse it, but the message cannot even say it.
        raise InvalidRequest(f"an option is out of range: {error}", reason="INVALID_REQUEST") from error


def _classification(answer: pb.ClassifyResponse, request_id: str) -> Classification:
    """ValueError where an array or a region is none."""
    timing = answer.timing
    return Classification(
        model=answer.model,
        version=answer.version,
        backend=answer.backend,
        dtype=answer.dtype,
        results=tuple(_result(result, request_id) for result in answer.results),
        timing=Timing(timing.queue, timing.batch_wait, timing.decode, timing.inference),
        request_id=request_id,
    )


def _result(result: pb.ImageResult, request_id: str) -> ImageResult:
    if result.HasField("error"):
        code = CODE_NAMES.get(result.error.code, "UNKNOWN")
        kind = error_class(reason=result.error.reason, code=code)
        return ImageResult(
            error=kind(result.error.message, code=code, reason=result.error.reason, request_id=request_id)
        )
    found = result.predictions
    return ImageResult(
        predictions=tuple(map(_prediction, found.predictions)),
        embedding=_array(found.embedding, dimensions=1) if found.HasField("embedding") else None,
        map_region=_region(found.map_region) if found.HasField("map_region") else None,
    )


def _prediction(found: pb.Prediction) -> Prediction:
    has_map = found.HasField("class_activation_map")
    activation_map = _array(found.class_activation_map, dimensions=2) if has_map else None
    return Prediction(found.label, found.index, found.score, activation_map)


def _array(tensor: pb.Tensor, dimensions: int) -> "Array":
    from .arrays import array

    return array(tensor.shape, tensor.data, dimensions)


def _region(region: pb.Region) -> Region:
    return Region(region.left, region.top, region.right, region.bottom)


def _model(model: pb.Model) -> Model:
    return Model(
        name=model.name,
        version=model.version,
        versions=tuple(model.versions),
        ready=model.ready,
        architecture=model.architecture,
        input_height=model.input_height,
        input_width=model.input_width,
        labels=tuple(model.labels),
        parameters=model.parameters,
        multiply_adds=model.multiply_adds,
        dtype=model.dtype,
        backend=model.backend,
        backend_reason=model.backend_reason,
        batch_buckets=tuple(model.batch_buckets),
        weights=model.weights,
        embedding_size=model.embedding_size,
        activation_map_height=model.activation_map_height,
        activation_map_width=model.activation_map_width,
        backend_timings=tuple(map(_backend_timing, model.backend_timings)),
        preprocessing=model.preprocessing,
        accuracy=model.accuracy,
        licence=model.licence,
    )


def _backend_timing(timing: pb.BackendTiming) -> BackendTiming:
    return BackendTiming(
        backend=timing.backend,
        batch_bucket=timing.batch_bucket,
        best_seconds=timing.best_seconds,
        median_seconds=timing.median_seconds,
        relative_l2=timing.relative_l2,
        chosen=timing.chosen,
    )
