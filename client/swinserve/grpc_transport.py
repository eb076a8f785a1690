"""Question -> swinserve.v1.Classifier over gRPC -> Classification."""

from typing import TypeVar

import grpc

from swin_proto.v1 import classifier_pb2_grpc

from . import grpc_channel, grpc_messages
from .grpc_errors import failure, joined
from .grpc_messages import Exchange
from .results import Classification, Model
from .service import Service
from .transport import Call, Question

T = TypeVar("T")


class GrpcTransport:
    """The connection is made at the first call. ValueError for what gRPC cannot be told."""

    def __init__(self, service: Service) -> None:
        self._service = service
        target, credentials = grpc_channel.target(service), grpc_channel.credentials(service)
        self._channel = (
            grpc.insecure_channel(target, grpc_channel.OPTIONS)
            if credentials is None
            else grpc.secure_channel(target, credentials, grpc_channel.OPTIONS)
        )
        self._stub = classifier_pb2_grpc.ClassifierStub(self._channel)

    def classify(self, question: Question, call: Call) -> Classification:
        return self._ask(grpc_messages.classify(question), call)

    def models(self, call: Call) -> list[Model]:
        return self._ask(grpc_messages.models(), call)

    def model(self, name: str, version: str, call: Call) -> Model:
        return self._ask(grpc_messages.model(name, version), call)

    def close(self) -> None:
        self._channel.close()

    def _ask(self, exchange: Exchange[T], call: Call) -> T:
        method = getattr(self._stub, exchange.method)
        sent = grpc_channel.metadata(self._service, call)
        try:
            answer, state = method.with_call(exchange.request, timeout=call.timeout, metadata=sent)
        except grpc.RpcError as error:
            raise failure(error, self._service.url, call) from error
        received = joined(state.initial_metadata(), state.trailing_metadata())
        request_id = str(received.get("x-request-id", call.request_id))
        return grpc_messages.read(exchange, answer, request_id, self._service.url)
