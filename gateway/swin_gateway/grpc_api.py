"""swinserve.v1.Classifier over gRPC: messages -> `Classifier` -> messages, errors -> status with details."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any

from swin_gateway import caller
from swin_gateway.access import OPEN, Access, Grant
from swin_gateway.call import Call
from swin_gateway.calls import OK, Calls, Served
from swin_gateway.classifier import Classifier
from swin_gateway.errors import Draining, ServingError
from swin_gateway.grpc_frame import ServicerContext, headers_of, serving
from swin_gateway.options import DEFAULT_TOP_K, Options
from swin_gateway.result import image_result
from swin_gateway.tokens import Scope
from swin_proto.v1.classifier_pb2 import (
    ClassifyRequest,
    ClassifyResponse,
    ClassifyStreamRequest,
    ClassifyStreamResponse,
    GetModelRequest,
    ListModelsRequest,
    ListModelsResponse,
    Model,
)
from swin_proto.v1.classifier_pb2_grpc import ClassifierServicer

STREAM_WINDOW = 64
"""Images of one stream under way; reading stops there, and HTTP/2 flow control holds the caller back."""


class GrpcApi(ClassifierServicer):
    def __init__(self, classifier: Classifier, calls: Calls, access: Access = OPEN) -> None:
        self._classifier = classifier
        self._calls = calls
        self._access = access

    async def Classify(self, request: ClassifyRequest, context: Any) -> ClassifyResponse:  # noqa: N802
        async with serving(self._calls, "Classify", context) as served:
            served.grant = self._grant(context, "classify")
            served.by(self._classifier.models.find(request.model, request.version))
            # One more than is taken: enough to be refused, however many a message holds.
            images = [image.content for image in islice(request.images, self._classifier.max_images + 1)]
            call = _call(request, images, context, served)
            with self._classifier.pending.holding(call.caller) as holding:
                holding.add(request.ByteSize())
                served.response = await self._classifier.classify(call)
            return served.response
        raise AssertionError("abort raises")

    async def ClassifyStream(  # noqa: N802
        self, request_iterator: AsyncIterator[ClassifyStreamRequest], context: Any
    ) -> AsyncIterator[ClassifyStreamResponse]:
        async with serving(self._calls, "ClassifyStream", context) as served:
            served.grant = self._grant(context, "classify")
            # Asked for each image again: a stream may outlive its token.
            stream = ImageStream(self._classifier, context, served, lambda: self._grant(context, "classify"))
            reader = asyncio.create_task(stream.read(request_iterator))
            try:
                async for answer in stream.answers():
                    yield answer
                await reader
            finally:
                reader.cancel()
            if stream.cut:
                raise Draining("the service is shutting down; what it had read is answered, send the rest elsewhere")

    async def ListModels(self, request: ListModelsRequest, context: Any) -> ListModelsResponse:  # noqa: N802
        async with serving(self._calls, "ListModels", context) as served:
            served.grant = self._grant(context, "metadata")
            models = self._classifier.models
            return ListModelsResponse(models=[models.describe(model.name, model.version) for model in models])
        raise AssertionError("abort raises")

    async def GetModel(self, request: GetModelRequest, context: Any) -> Model:  # noqa: N802
        async with serving(self._calls, "GetModel", context) as served:
            served.grant = self._grant(context, "metadata")
            served.by(self._classifier.models.find(request.model, request.version))
            return self._classifier.models.describe(request.model, request.version)
        raise AssertionError("abort raises")

    def _grant(self, context: ServicerContext, scope: Scope) -> Grant:
        """Whose call this is; GrpcAccess has let it in."""
        return self._access.admit(headers_of(context).get("authorization"), scope)


class ImageStream:
    """One ClassifyStream: at most `STREAM_WINDOW` images between being read and their answer being taken."""

    def __init__(
        self, classifier: Classifier, context: ServicerContext, served: Served, grant: Callable[[], Grant]
    ) -> None:
        """grant: of this moment, or the refusal"""
        self._classifier = classifier
        self._context = context
        self._served = served
        self._grant = grant
        self._caller = served.grant.name or caller.of_grpc(context.peer())
        self._window = asyncio.Semaphore(STREAM_WINDOW)
        self._answers: asyncio.Queue[ClassifyStreamResponse | None] = asyncio.Queue()
        self.cut = False
        """Whether reading was ended by us, the service draining, and not by the caller."""

    async def read(self, requests: AsyncIterator[ClassifyStreamRequest]) -> None:
        """Starts a task per image until the caller has sent all and all are answered."""
        pending = self._classifier.pending
        try:
            async with asyncio.TaskGroup() as group:
                async for request in self._until_closing(requests):
                    await self._window.acquire()
                    size = request.ByteSize()
                    await pending.take_when_room(self._caller, size)
                    image = group.create_task(self._classify(request))
                    image.add_done_callback(lambda _, size=size: pending.give(self._caller, size))  # type: ignore[misc]
        finally:
            self._answers.put_nowait(None)

    async def _until_closing(
        self, requests: AsyncIterator[ClassifyStreamRequest]
    ) -> AsyncIterator[ClassifyStreamRequest]:
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

    async def _classify(self, request: ClassifyStreamRequest) -> None:
        self._answers.put_nowait(await self._answer(request))

    async def _answer(self, request: ClassifyStreamRequest) -> ClassifyStreamResponse:
        try:
            self._served.grant = self._grant()
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
        caller=served.grant.name or caller.of_grpc(context.peer()),
        quota=served.grant.quota,
    )
