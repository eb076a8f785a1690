"""Question -> swinserve.v1.Classifier over gRPC, awaited -> Classification."""

from functools import cached_property
from typing import TypeVar

import grpc
import grpc.aio

from swin_proto.v1 import classifier_pb2_grpc

from . import grpc_channel, grpc_messages
from .grpc_errors import failure, joined
from .grpc_messages import Exchange
from .results import Classification, Model
from .service import Service
from .transport import Call, Question

T = TypeVar("T")


class AsyncGrpcTransport:
    """The connection is made at the first call. ValueError for what gRPC cannot be told."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._target, self._credentials = grpc_channel.target(service), grpc_channel.credentials(service)

    async def classify(self, question: Question, call: Call) -> Classification:
        return await self._ask(grpc_messages.classify(question), call)

    async def models(self, call: Call) -> list[Model]:
        return await self._ask(grpc_messages.models(), call)

    async def model(self, name: str, version: str, call: Call) -> Model:
        return await self._ask(grpc_messages.model(name, version), call)

    async def close(self) -> None:
        if "_channel" in vars(self):
            await self._channel.close(None)

    async def _ask(self, exchange: Exchange[T], call: Call) -> T:
        method = getattr(self._stub, exchange.method)
        sent = grpc_channel.metadata(self._service, call)
        asking = method(exchange.request, timeout=call.timeout, metadata=sent)
        try:
            answer = await asking
            received = joined(await asking.initial_metadata(), await asking.trailing_metadata())
        except grpc.RpcError as error:
            raise failure(error, self._service.url, call) from error
        request_id = str(received.get("x-request-id", call.request_id))
        return grpc_messages.read(exchange, answer, request_id, self._service.url)

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # A channel belongs to the event loop that runs when it is made, and a client may be made before one does.
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, grpc_channel.OPTIONS)
        return grpc.aio.secure_channel(self._target, self._credentials, grpc_channel.OPTIONS)

    @cached_property
    def _stub(self) -> "classifier_pb2_grpc.ClassifierAsyncStub":
        return classifier_pb2_grpc.ClassifierStub(self._channel)
