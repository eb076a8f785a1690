"""swinserve.v1.Classifier over gRPC: messages -> `Classifier` -> messages, errors -> status with details."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from swin_gateway import caller, grpc_messages
from swin_gateway.call import Call
from swin_gateway.calls import OK, Calls, Served
from swin_gateway.classifier import Classifier
from swin_gateway.errors import DeadlineExceeded, Draining, ServingError
from swin_gateway.options import DEFAULT_TOP_K, Options
from swin_gateway.request_id import REQUEST_ID, request_id_from
from swin_gateway.result import image_result
from swin_proto.v1.classifier_pb2 import (
    DESCRIPTOR,
    ClassifyRequest,
    ClassifyResponse,
    ClassifyStreamRequest,
    ClassifyStreamResponse,
    GetModelRequest,
    ListModelsRequest,
    ListModelsResponse,
    Model,
)

STREAM_WINDOW = 64
"""Images of one stream under way; reading stops there, and HTTP/2 flow control holds the caller back."""


class ServicerContext(Protocol):
    """What is used of grpc.aio's context (its own stub lacks half of it)."""

    def invocation_metadata(self) -> Any: ...
    def peer(self) -> str: ...
    def time_remaining(self) -> float | None: ...
    def set_trailing_metadata(self, metadata: Any) -> None: ...
    async def send_initial_metadata(self, metadata: Any) -> None: ...
    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any = ()) -> None: ...


class GrpcApi:
    """Takes requests as bytes, so that what is no message gets an answer of ours."""

    def __init__(self, classifier: Classifier, calls: Calls) -> None:
        self._classifier = classifier
        self._calls = calls

    def add_to(self, server: grpc.aio.Server) -> None:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        handlers = {
            "Classify": unary(self._classify, response_serializer=ClassifyResponse.SerializeToString),
            "ClassifyStream": stream(
                self._classify_stream, response_serializer=ClassifyStreamResponse.SerializeToString
            ),
            "ListModels": unary(self._list_models, response_serializer=ListModelsResponse.SerializeToString),
            "GetModel": unary(self._get_model, response_serializer=Model.SerializeToString),
        }
        name = DESCRIPTOR.services_by_name["Classifier"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    async def _classify(self, data: bytes, context: Any) -> ClassifyResponse:
        async with self._serving("Classify", context) as served:
            request = grpc_messages.read(ClassifyRequest, data, images=self._classifier.max_images)
            served.by(self._classifier.models.find(request.model, request.version))
            # One more than is taken: enough to be refused, however many a message holds.
            images = [image.content for image in islice(request.images, self._classifier.max_images + 1)]
            call = _call(request, images, context, served)
            served.response = await self._classifier.classify(call)
            return served.response
        raise AssertionError("abort raises")

    async def _classify_stream(
        self, request_iterator: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[ClassifyStreamResponse]:
        async with self._serving("ClassifyStream", context) as served:
            stream = ImageStream(self._classifier, context, served)
            reader = asyncio.create_task(stream.read(request_iterator))
            try:
                async for answer in stream.answers():
                    yield answer
                await reader
            finally:
                reader.cancel()
            if stream.cut:
                raise Draining("the service is shutting down; what it had read is answered, send the rest elsewhere")

    async def _list_models(self, data: bytes, context: Any) -> ListModelsResponse:
        async with self._serving("ListModels", context):
            grpc_messages.read(ListModelsRequest, data)
            models = self._classifier.models
            return ListModelsResponse(models=[models.describe(model.name, model.version) for model in models])
        raise AssertionError("abort raises")

    async def _get_model(self, data: bytes, context: Any) -> Model:
        async with self._serving("GetModel", context) as served:
            request = grpc_messages.read(GetModelRequest, data)
            served.by(self._classifier.models.find(request.model, request.version))
            return self._classifier.models.describe(request.model, request.version)
        raise AssertionError("abort raises")

    @asynccontextmanager
    async def _serving(self, method: str, context: ServicerContext) -> AsyncIterator[Served]:
        """Names, times and counts a call, and turns what it raises into a status."""
        headers = dict(context.invocation_metadata())
        request_id = request_id_from(headers.get(REQUEST_ID))
        with self._calls.serving("grpc", request_id, method, headers) as served:
            try:
                await context.send_initial_metadata(((REQUEST_ID, request_id),))
                yield served
                served.succeeded()
            except BaseException as error:  # noqa: BLE001 - `failure` raises again what is not for us
                left = context.time_remaining()
                if left is not None and left <= 0:  # gRPC cancels a call whose deadline has passed
                    served.outcome = DeadlineExceeded.reason.lower()
                await _abort(context, self._calls.failure(error, served), request_id)


class ImageStream:
    """One ClassifyStream: at most `STREAM_WINDOW` images between being read and their answer being taken."""

    def __init__(self, classifier: Classifier, context: ServicerContext, served: Served) -> None:
        self._classifier = classifier
        self._context = context
        self._served = served
        self._window = asyncio.Semaphore(STREAM_WINDOW)
        self._answers: asyncio.Queue[ClassifyStreamResponse | None] = asyncio.Queue()
        self.cut = False
        """Whether reading was ended by us, the service draining, and not by the caller."""

    async def read(self, requests: AsyncIterator[bytes]) -> None:
        """Starts a task per image until the caller has sent all and all are answered."""
        try:
            async with asyncio.TaskGroup() as group:
                async for data in self._until_closing(requests):
                    await self._window.acquire()
                    group.create_task(self._classify(data))
        finally:
            self._answers.put_nowait(None)

    async def _until_closing(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        closing = asyncio.create_task(self._classifier.closing.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    self.cut = True
                    return
                if (request := coming.result()) is None:
                    return
                yield request
        finally:
            closing.cancel()

    async def answers(self) -> AsyncIterator[ClassifyStreamResponse]:
        while (answer := await self._answers.get()) is not None:
            yield answer
            self._window.release()  # only now: a caller that does not take its answers must not send more

    async def _classify(self, data: bytes) -> None:
        self._answers.put_nowait(await self._answer(data))

    async def _answer(self, data: bytes) -> ClassifyStreamResponse:
        request = ClassifyStreamRequest()
        try:
            request = grpc_messages.read(ClassifyStreamRequest, data)
            call = _call(request, [request.image.content], self._context, self._served)
            model, image = await self._classifier.classify_bulk(call)
        except ServingError as error:
            self._served.streamed[error.outcome] += 1
            return ClassifyStreamResponse(id=request.id, result=image_result(error))
        self._served.streamed[image.result.outcome if isinstance(image.result, ServingError) else OK] += 1
        return ClassifyStreamResponse(
            id=request.id,
            model=model.name,
            version=model.version,
            result=image_result(image.result),
            timing=image.timing,
        )


def _call(
    request: ClassifyRequest | ClassifyStreamRequest,
    images: list[bytes],
    context: ServicerContext,
    served: Served,
) -> Call:
    options = request.options
    return Call(
        model=request.model,
        version=request.version,
        images=images,
        options=Options(
            top_k=options.top_k if options.HasField("top_k") else DEFAULT_TOP_K,
            min_score=options.min_score,
            embedding=options.embedding,
            class_activation_map=options.class_activation_map,
        ),
        timeout=context.time_remaining(),
        request_id=served.request_id,
        trace=served.trace,
        caller=caller.of_grpc(context.peer()),
    )


async def _abort(context: ServicerContext, error: ServingError, request_id: str) -> None:
    details: list[Message] = [
        ErrorInfo(reason=error.reason, domain="swinserve"),
        RequestInfo(request_id=request_id),
    ]
    if error.retry_after is not None:
        seconds = int(error.retry_after)
        details.append(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=int((error.retry_after - seconds) * 1e9))))
    message = f"{error.message} (request {request_id})"
    status = Status(code=error.grpc.value[0], message=message, details=[_packed(detail) for detail in details])
    trailing = ((REQUEST_ID, request_id), ("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(error.grpc, message, trailing)


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
