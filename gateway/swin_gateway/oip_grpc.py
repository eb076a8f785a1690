"""inference.GRPCInferenceService, the Open Inference Protocol over gRPC: messages -> `Classifier` -> messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from swin_gateway import grpc_messages, oip_inference, oip_metadata
from swin_gateway.access import OPEN, Access
from swin_gateway.call import Call
from swin_gateway.calls import Calls, Served
from swin_gateway.classifier import Classifier
from swin_gateway.errors import InvalidRequest, ModelNotFound
from swin_gateway.grpc_frame import ServicerContext, caller_of, headers_of, serving
from swin_gateway.oip_inference import Asked, Inference
from swin_gateway.oip_tensors import InputTensor, clipped
from swin_gateway.pending_bytes import Holding
from swin_gateway.readiness import Readiness
from swin_proto.oip.v2 import inference_pb2 as oip
from swin_proto.v1.classifier_pb2 import ClassifyResponse

MAX_NUMBERS = 2**20
"""Bytes of numbers in a message's typed contents: pixels are better sent as raw ones."""


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
            return oip.ModelReadyResponse(ready=model.workers.ready and not self._readiness.closing)
        raise AssertionError("abort raises")

    async def _server_metadata(self, data: bytes, context: Any) -> oip.ServerMetadataResponse:
        async with serving(self._calls, "ServerMetadata", context) as served:
            self._let_in(context, served, "metadata")
            grpc_messages.read(oip.ServerMetadataRequest, data)
            return oip.ServerMetadataResponse(**oip_metadata.server_metadata())
        raise AssertionError("abort raises")

    async def _model_metadata(self, data: bytes, context: Any) -> oip.ModelMetadataResponse:
        async with serving(self._calls, "ModelMetadata", context) as served:
            self._let_in(context, served, "metadata")
            request = grpc_messages.read(oip.ModelMetadataRequest, data)
            served.by(self._classifier.models.find(request.name, request.version))
            return oip.ModelMetadataResponse(
                **oip_metadata.model_metadata(self._classifier.models, request.name, request.version)
            )
        raise AssertionError("abort raises")

    async def _model_infer(self, data: bytes, context: Any) -> oip.ModelInferResponse:
        async with serving(self._calls, "ModelInfer", context) as served:
            self._let_in(context, served, "classify")
            with self._classifier.pending.holding(caller_of(context, served)) as holding:
                holding.add(len(data))
                return await self._infer(data, holding, context, served)
        raise AssertionError("abort raises")

    async def _infer(
        self, data: bytes, body: Holding, context: ServicerContext, served: Served
    ) -> oip.ModelInferResponse:
        inference = inference_of(
            grpc_messages.read(oip.ModelInferRequest, data, images=self._classifier.max_images, numbers=MAX_NUMBERS)
        )
        model = self._classifier.models.find(inference.model, inference.version)
        served.by(model)
        asked, request_id = oip_inference.asked(inference, model.manifest), inference.id
        images = await oip_inference.images_of(inference, self._classifier.max_images)
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
        return _answer(found, asked, request_id)

    def _let_in(self, context: ServicerContext, served: Served, scope: Any) -> None:
        """Whose call this is; GrpcAccess has let it in."""
        served.grant = self._access.admit(headers_of(context).get("authorization"), scope)


def inference_of(request: oip.ModelInferRequest) -> Inference:
    """What the message says; raises InvalidRequest."""
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
    if tensor.parameters:
        raise InvalidRequest(f"unknown parameter {clipped(next(iter(tensor.parameters)))} of {clipped(tensor.name)}")
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
