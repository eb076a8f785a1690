"""swinserve.v1.Classifier over gRPC: messages -> `Classifier` -> messages, errors -> status with details."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any

import grpc
import grpc.aio

from swin_gateway import grpc_messages
from swin_gateway.access import OPEN, Access, Grant
from swin_gateway.call import Call
from swin_gateway.calls import OK, Calls, Served
from swin_gateway.classifier import Classifier
from swin_gateway.errors import Draining, Overloaded, ServingError
from swin_gateway.grpc_frame import ServicerContext, caller_of, grant_of, serving
from swin_gateway.options import DEFAULT_TOP_K, Options
from swin_gateway.pending_bytes import Holding
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


class GrpcApi:
    """Takes requests as bytes, so that what is no message gets an answer of ours."""

    def __init__(self, classifier: Classifier, calls: Calls, access: Access = OPEN) -> None:
        self._classifier = classifier
        self._calls = calls
        self._access = access

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
        async with serving(self._calls, "Classify", context) as served:
            served.grant = grant_of(context, self._access, "classify")
            with self._classifier.pending.holding(caller_of(context, served)) as holding:
                holding.add(len(data))
                served.response = await self._classifier.classify(self._call(data, holding, context, served))
            return served.response
        raise AssertionError("abort raises")

    def _call(self, data: bytes, body: Holding, context: ServicerContext, served: Served) -> Call:
        request = grpc_messages.read(ClassifyRequest, data, images=self._classifier.max_images)
        served.by(self._classifier.models.find(request.model, request.version))
        # One more than is taken: enough to be refused, however many a message holds.
        images = [image.content for image in islice(request.images, self._classifier.max_images + 1)]
        return _call(request, images, body, context, served)

    async def _classify_stream(
        self, request_iterator: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[ClassifyStreamResponse]:
        async with serving(self._calls, "ClassifyStream", context) as served:
            served.grant = grant_of(context, self._access, "classify")
            # Asked for each image again: a stream may outlive its token.
            stream = ImageStream(self._classifier, context, served, lambda: grant_of(context, self._access, "classify"))
            reader = asyncio.create_task(stream.read(request_iterator))
            try:
                async for answer in stream.answers():
                    yield answer
                await reader
            finally:
                reader.cancel()
            if stream.refusal is not None:
                raise stream.refusal

    async def _list_models(self, data: bytes, context: Any) -> ListModelsResponse:
        async with serving(self._calls, "ListModels", context) as served:
            served.grant = grant_of(context, self._access, "metadata")
            grpc_messages.read(ListModelsRequest, data)
            models = self._classifier.models
            return ListModelsResponse(models=[models.describe(model.name, model.version) for model in models])
        raise AssertionError("abort raises")

    async def _get_model(self, data: bytes, context: Any) -> Model:
        async with serving(self._calls, "GetModel", context) as served:
            served.grant = grant_of(context, self._access, "metadata")
            request = grpc_messages.read(GetModelRequest, data)
            served.by(self._classifier.models.find(request.model, request.version))
            return self._classifier.models.describe(request.model, request.version)
        raise AssertionError("abort raises")


class ImageStream:
    """One ClassifyStream: at most `STREAM_WINDOW` images between being read and their answer being taken."""

    def __init__(
        self, classifier: Classifier, context: ServicerContext, served: Served, grant: Callable[[], Grant]
    ) -> None:
        """grant: of this moment, or the refusal"""
        self._classifier = classifier
        self._limits = classifier.streams
        self._context = context
        self._served = served
        self._grant = grant
        self._caller = caller_of(context, served)
        self._window = asyncio.Semaphore(STREAM_WINDOW)
        self._answers: asyncio.Queue[ClassifyStreamResponse | None] = asyncio.Queue()
        self.refusal: ServingError | None = None
        """Why reading was ended by us and not by the caller; what had been read is answered."""

    async def read(self, requests: AsyncIterator[bytes]) -> None:
        """Starts a task per image until the caller has sent all and all are answered."""
        pending = self._classifier.pending
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    async for data in self._messages(requests):
                        await self._make_room(len(data))
                        body = Holding(pending, self._caller, len(data))
                        image = group.create_task(self._classify(data, body))
                        image.add_done_callback(lambda _, body=body: body.end())  # type: ignore[misc]
                except ServingError as refusal:
                    self.refusal = refusal
        finally:
            self._answers.put_nowait(None)

    async def _make_room(self, size: int) -> None:
        """Waits for it; raises Overloaded where too much waits for the same."""
        try:
            self._classifier.pending.take(self._caller, size)
        except Overloaded:
            with self._limits.beside.holding(self._caller) as waiting:
                waiting.add(size)
                await self._classifier.pending.take_when_room(self._caller, size)

    async def _messages(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        closing = asyncio.create_task(self._classifier.closing.wait())
        try:
            while True:
                await self._window.acquire()  # before it is read: nobody counts a message that waits for the window
                if (message := await self._message(requests, closing)) is None:
                    return
                yield message
        finally:
            closing.cancel()

    async def _message(self, requests: AsyncIterator[bytes], closing: asyncio.Task[Any]) -> bytes | None:
        """The next one; None at the end. Raises Draining, and Overloaded where too many streams are silent."""
        coming = asyncio.ensure_future(anext(requests, None))
        both = {coming, closing}
        try:
            done, _ = await asyncio.wait(both, timeout=self._limits.silent_seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                with self._limits.beside.holding(self._caller) as silent:
                    silent.add(self._limits.message_bytes)
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise Draining("the service is shutting down; what it had read is answered, send the rest elsewhere")
            return coming.result()
        finally:
            coming.cancel()

    async def answers(self) -> AsyncIterator[ClassifyStreamResponse]:
        while (answer := await self._answers.get()) is not None:
            yield answer
            self._window.release()  # only now: a caller that does not take its answers must not send more

    async def _classify(self, data: bytes, body: Holding) -> None:
        self._answers.put_nowait(await self._answer(data, body))

    async def _answer(self, data: bytes, body: Holding) -> ClassifyStreamResponse:
        request = ClassifyStreamRequest()
        try:
            self._served.grant = self._grant()
            request = grpc_messages.read(ClassifyStreamRequest, data)
            call = _call(request, [request.image.content], body, self._context, self._served)
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
    body: Holding,
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
        caller=caller_of(context, served),
        quota=served.grant.quota,
        body=body,
    )
