"""Question -> swinserve.v1.Classifier over gRPC -> Classification."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from swin_proto.v1 import classifier_pb2 as pb
from swin_proto.v1 import classifier_pb2_grpc

from .errors import UNREACHABLE, InternalError, InvalidRequest, SwinserveError, TooLarge, Unavailable, error_class
from .results import BackendTiming, Classification, ImageResult, Model, Prediction, Region, Timing
from .transport import Call, Question

if TYPE_CHECKING:
    from .arrays import Array

Kind = type[SwinserveError]

OPTIONS = (
    # How large a request may be is the service's to say; it answers TOO_LARGE where gRPC would only break off.
    ("grpc.max_send_message_length", -1),
    # gRPC's own 4 MiB is too little for many images with a thousand predictions each, or maps; without end is too much.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
# What an error says beside its code and message.
DETAILS: tuple[tuple[Any, Callable[[Any], dict[str, Any]]], ...] = (
    (error_details_pb2.ErrorInfo, lambda info: {"reason": info.reason}),
    (error_details_pb2.RequestInfo, lambda info: {"request_id": info.request_id}),
    (error_details_pb2.RetryInfo, lambda info: {"retry_after": info.retry_delay.ToMicroseconds() / 1e6}),
)
CODE_NAMES = {int(status.value[0]): status.name for status in grpc.StatusCode}


class GrpcTransport:
    """Speaks to `target`, a host:port, without TLS. The connection is made at the first call."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._channel = grpc.insecure_channel(target, options=OPTIONS)
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)

    def classify(self, question: Question, call: Call) -> Classification:
        answer, request_id = self._ask(self._stub.Classify, _request(question), call)
        try:
            return _classification(answer, request_id)
        except ValueError as error:
            message = f"grpc://{self._target} does not answer as Swinserve does: {error}"
            raise InternalError(message, request_id=request_id) from error

    def models(self, call: Call) -> list[Model]:
        answer, _ = self._ask(self._stub.ListModels, pb.ListModelsRequest(), call)
        return [_model(model) for model in answer.models]

    def model(self, name: str, version: str, call: Call) -> Model:
        answer, _ = self._ask(self._stub.GetModel, pb.GetModelRequest(model=name, version=version), call)
        return _model(answer)

    def close(self) -> None:
        self._channel.close()

    def _ask(self, method: Any, request: Message, call: Call) -> tuple[Any, str]:
        """The answer and its request id."""
        try:
            answer, state = method.with_call(
                request, timeout=call.timeout, metadata=(("x-request-id", call.request_id),)
            )
        except grpc.RpcError as error:
            self._raise(error, call)
        return answer, str(_metadata(state).get("x-request-id", call.request_id))

    def _raise(self, error: grpc.RpcError, call: Call) -> NoReturn:
        if not isinstance(error, grpc.Call):
            raise InternalError(f"gRPC failed without a status: {error!r}", request_id=call.request_id) from error
        code, message = error.code().name, error.details() or ""
        metadata = _metadata(error)
        facts = {"request_id": metadata.get("x-request-id", call.request_id)}
        facts |= _details(metadata.get("grpc-status-details-bin", b""))
        kind = error_class(reason=facts.get("reason", ""), code=code)
        if "reason" not in facts:
            kind, facts["reason"], message = self._without_reason(kind, code, message)
        # For people with a generic client the service puts the id into the message as well; here it is a field.
        raise kind(message.removesuffix(f" (request {facts['request_id']})"), code=code, **facts) from error

    def _without_reason(self, kind: Kind, code: str, message: str) -> tuple[Kind, str, str]:
        """gRPC itself failed, not the service: only its words tell why."""
        if code == "UNAVAILABLE":
            return kind, UNREACHABLE, f"cannot reach grpc://{self._target}: {message.split('last error: ')[-1]}"
        if code == "CANCELLED":
            # We cancel nothing: a server that shuts down does this to calls that it had not begun.
            return Unavailable, UNREACHABLE, f"grpc://{self._target} shut down before it took the call"
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in message:
            return TooLarge, "TOO_LARGE", message
        if code == "DEADLINE_EXCEEDED":
            return kind, code, f"grpc://{self._target} did not answer in time: {message}"
        return kind, "", message


def _metadata(call: grpc.Call) -> dict[str, Any]:
    return {key: value for part in (call.initial_metadata(), call.trailing_metadata()) for key, value in part or ()}


def _details(packed: bytes) -> dict[str, Any]:
    """A serialized google.rpc.Status -> what its details say: reason, request_id, retry_after."""
    facts: dict[str, Any] = {}
    for detail in status_pb2.Status.FromString(packed).details:
        for message, read in DETAILS:
            if detail.Is(message.DESCRIPTOR):
                facts |= read(message.FromString(detail.value))
    return facts


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
