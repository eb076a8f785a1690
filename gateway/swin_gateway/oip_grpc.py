"""inference.GRPCInferenceService, the Open Inference Protocol over gRPC: messages -> `Classifier` -> messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from swin_gateway import grpc_messages, large_work, oip_inference, oip_json, oip_metadata
from swin_gateway.access import OPEN, Access
from swin_gateway.call import Call
from swin_gateway.calls import Calls, Served
from swin_gateway.classifier import Classifier
from swin_gateway.errors import InvalidRequest, ModelNotFound
from swin_gateway.grpc_frame import ServicerContext, caller_of, grant_of, serving
from swin_gateway.oip_inference import Asked, Inference
from swin_gateway.oip_tensors import InputTensor, clipped
from swin_gateway.pending_bytes import Holding
from swin_gateway.readiness import Readiness
from swin_proto.oip.v2 import inference_pb2 as oip
from swin_proto.v1.classifier_pb2 import ClassifyResponse

MAX_NUMBERS = 2**19
"""Bytes of numbers in a message's typed contents: a picture of 256×256, 24 ms. Raw pixels are better."""


class OipGrpc:
    """Takes requests as bytes, so that what is no message gets an answer of ours."""

    def __init__(self, classifier: Classifier, readiness: Readiness, calls: Calls, access: Access = OPEN) -> None:
        self._classifier = classifier
        self._readiness = readiness
        self._calls = calls
        self._access = access

    def add_to(self, server: grpc.aio.Server) -> None:
        methods = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                method, response_serializer=lambda message: message.SerializeToString()
            )
            for name, method in methods.items()
        }
        service = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def _server_live(self, data: bytes, context: Any) -> oip.ServerLiveResponse:
        async with serving(self._calls, "", context):
            grpc_messages.read(oip.ServerLiveRequest, data)
            return oip.ServerLiveResponse(live=True)
        raise AssertionError("abort raises")

    async def _server_ready(self, data: bytes, context: Any) -> oip.ServerReadyResponse:
        async with serving(self._calls, "", context):
            grpc_messages.read(oip.ServerReadyRequest, data)
            return oip.ServerReadyResponse(ready=self._readiness.ready)
        raise AssertionError("abort raises")

    async def _model_ready(self, data: bytes, context: Any) -> oip.ModelReadyResponse:
        """Of a model that there is not, too: false, as clients expect."""
        async with serving(self._calls, "", context):
            request = grpc_messages.read(oip.ModelReadyRequest, data)
            try:
                model = self._classifier.models.find(request.name, request.version)
            except ModelNotFound:
                return oip.ModelReadyResponse(ready=False)
            return oip.ModelReadyResponse(ready=self._readiness.of(model))
        raise AssertionError("abort raises")

    async def _server_metadata(self, data: bytes, context: Any) -> oip.ServerMetadataResponse:
        async with serving(self._calls, "ServerMetadata", context) as served:
            served.grant = grant_of(context, self._access, "metadata")
            grpc_messages.read(oip.ServerMetadataRequest, data)
            return oip.ServerMetadataResponse(**oip_metadata.server_metadata())
        raise AssertionError("abort raises")

    async def _model_metadata(self, data: bytes, context: Any) -> oip.ModelMetadataResponse:
        async with serving(self._calls, "ModelMetadata", context) as served:
            served.grant = grant_of(context, self._access, "metadata")
            request = grpc_messages.read(oip.ModelMetadataRequest, data)
            served.by(self._classifier.models.find(request.name, request.version))
            return oip.ModelMetadataResponse(
                **oip_metadata.model_metadata(self._classifier.models, request.name, request.version)
            )
        raise AssertionError("abort raises")

    async def _model_infer(self, data: bytes, context: Any) -> oip.ModelInferResponse:
        async with serving(self._calls, "ModelInfer", context) as served:
            served.grant = grant_of(context, self._access, "classify")
            with self._classifier.pending.holding(caller_of(context, served)) as holding:
                holding.add(len(data))
                return await self._infer(data, holding, context, served)
        raise AssertionError("abort raises")

    async def _infer(
        self, data: bytes, body: Holding, context: ServicerContext, served: Served
    ) -> oip.ModelInferResponse:
        inference = await large_work.done(len(data), read, data, self._classifier.max_images)
        model = self._classifier.models.find(inference.model, inference.version)
        served.by(model)
        asked, request_id = oip_inference.asked(inference, model.manifest), inference.id
        images = await oip_inference.images_of(inference, self._classifier.max_images, self._classifier.max_image_bytes)
        del inference  # which holds all that was sent
        left = [each for each in (context.time_remaining(), asked.timeout) if each is not None]
        served.response = found = await self._classifier.classify(
            Call(
                model=model.name,
                version=model.version,
                images=images,
                options=asked.options,
                timeout=min(left, default=None),
                request_id=served.request_id,
                trace=served.trace,
                caller=caller_of(context, served),
                quota=served.grant.quota,
                body=body,
                whole=True,
            )
        )
        return await large_work.done(found.ByteSize(), _answer, found, asked, request_id)


def read(data: bytes, images: int) -> Inference:
    """What the message says; images: how many are taken. Raises InvalidRequest, TooLarge."""
    request = grpc_messages.read(oip.ModelInferRequest, data, images=images, numbers=MAX_NUMBERS)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs")
    return Inference(
        model=request.model_name,
        version=request.model_version,
        inputs=[_tensor(each, raw[number] if raw else None) for number, each in enumerate(request.inputs)],
        id=request.id,
        parameters=_parameters(request.parameters),
        outputs=[(each.name, _parameters(each.parameters)) for each in request.outputs],
    )


def _tensor(tensor: Any, raw: bytes | None) -> InputTensor:
    # KServe's clients say a tensor's size as over REST; here the message itself tells it.
    if unknown := sorted(set(tensor.parameters) - {oip_json.SIZE}):
        raise InvalidRequest(f"unknown parameter {clipped(unknown[0])} of {clipped(tensor.name)}")
    content: bytes | list[bytes]
    if raw is not None:
        if tensor.HasField("contents"):
            raise InvalidRequest(f"{clipped(tensor.name)} has contents, and raw_input_contents beside them; send one")
        content = raw
    elif tensor.datatype == "BYTES":
        content = list(tensor.contents.bytes_contents)
    else:
        try:
            content = bytes(tensor.contents.uint_contents)
        except ValueError:
            raise InvalidRequest(f"the contents of {clipped(tensor.name)} must be numbers from 0 to 255") from None
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), content)


def _parameters(parameters: Mapping[str, oip.InferParameter]) -> dict[str, Any]:
    chosen = {name: (value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
    return {name: getattr(value, choice) if choice else None for name, (value, choice) in chosen.items()}


def _answer(found: ClassifyResponse, asked: Asked, request_id: str) -> oip.ModelInferResponse:
    tensors = oip_inference.answer(found, asked)
    return oip.ModelInferResponse(
        model_name=found.model,
        model_version=found.version,
        id=request_id,
        outputs=[
            oip.ModelInferResponse.InferOutputTensor(name=each.name, datatype=each.datatype, shape=each.shape)
            for each in tensors
        ],
        raw_output_contents=[each.raw() for each in tensors],
    )
