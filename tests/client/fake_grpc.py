"""A real gRPC server with a fake classifier behind it."""

# ruff: noqa: N802 - the method names are those of the .proto file.

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from swin_proto.v1 import classifier_pb2 as pb
from swin_proto.v1 import classifier_pb2_grpc

from .contract import MODEL, REASONS, TIMING, Asked, Certificate, Found, Refusal, Tensor, found, outcomes

LIMITS = [("grpc.max_receive_message_length", 20_000_000), ("grpc.max_send_message_length", 100_000_000)]


class Classifier(classifier_pb2_grpc.ClassifierServicer):
    def __init__(self, seen: list[Asked], released: threading.Event) -> None:
        self.seen, self.released = seen, released

    def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:
        options = request.options
        asked = self._note(
            context,
            images=[image.content for image in request.images],
            model=request.model,
            version=request.version,
            top_k=options.top_k if options.HasField("top_k") else None,
            min_score=options.min_score,
            embedding=options.embedding,
            class_activation_map=options.class_activation_map,
        )
        if asked.model == "hang" or b"hang" in asked.images:
            while context.is_active() and not self.released.wait(0.05):
                pass  # a thread of the server is not given away for a caller that has gone
        if asked.model == "status":  # an error without any details, as a proxy gives it
            context.abort(grpc.StatusCode[asked.version], "from elsewhere")
        try:
            reasons = outcomes(asked)
        except Refusal as refusal:
            self._abort(context, refusal, asked.request_id)
        results = [_error(reason) if reason else _found(found(asked)) for reason in reasons][asked.model == "short" :]
        return pb.ClassifyResponse(
            model=asked.model or "swin_digits",
            version=asked.version or "1",
            backend="eager",
            dtype="float32",
            results=results,
            timing=pb.Timing(**TIMING),
        )

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        self._note(context)
        return pb.ListModelsResponse(models=[pb.Model(**MODEL)])

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.Model:
        asked = self._note(context, model=request.model, version=request.version)
        if request.model != MODEL["name"]:
            self._abort(context, Refusal("MODEL_NOT_FOUND"), asked.request_id)
        return pb.Model(**MODEL | {"version": request.version or "1"})

    def _note(self, context: Any, **what: Any) -> Asked:
        headers = dict(context.invocation_metadata())
        request_id, authorization = headers["x-request-id"], headers.get("authorization", "")
        asked = Asked(timeout=context.time_remaining(), request_id=request_id, authorization=authorization, **what)
        self.seen.append(asked)
        context.set_trailing_metadata((("x-request-id", request_id),))
        return asked

    def _abort(self, context: Any, refusal: Refusal, request_id: str) -> None:
        code, _, wait = REASONS[refusal.reason]
        details = [
            error_details_pb2.ErrorInfo(reason=refusal.reason),
            error_details_pb2.RequestInfo(request_id=request_id),
        ]
        if wait is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(wait * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        number = grpc.StatusCode[code].value[0]
        status = status_pb2.Status(code=number, message=str(refusal), details=map(_packed, details))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode[code], str(refusal))


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _found(found: Found) -> pb.ImageResult:
    best = [
        pb.Prediction(label=label, index=index, score=score, class_activation_map=_tensor(values))
        for label, index, score, values in found.predictions
    ]
    region = pb.Region(**found.region) if found.region else None
    return pb.ImageResult(
        predictions=pb.Predictions(predictions=best, embedding=_tensor(found.embedding), map_region=region)
    )


def _tensor(tensor: Tensor | None) -> pb.Tensor | None:
    return pb.Tensor(shape=tensor.shape, data=tensor.data) if tensor else None


def _error(reason: str) -> pb.ImageResult:
    code = grpc.StatusCode[REASONS[reason][0]].value[0]
    return pb.ImageResult(error=pb.ImageError(code=code, reason=reason, message=f"refused: {reason}"))


def _credentials(tls: Certificate) -> grpc.ServerCredentials:
    pair = (tls.key.read_bytes(), tls.chain.read_bytes())
    return grpc.ssl_server_credentials([pair], tls.client_ca.read_bytes(), require_client_auth=True)


@contextmanager
def serve(seen: list[Asked], tls: Certificate | None = None) -> Iterator[str]:
    released = threading.Event()
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=LIMITS)
    classifier_pb2_grpc.add_ClassifierServicer_to_server(Classifier(seen, released), server)
    port = server.add_secure_port("127.0.0.1:0", _credentials(tls)) if tls else server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc{'s' * bool(tls)}://127.0.0.1:{port}"
    finally:
        released.set()
        server.stop(None).wait()
