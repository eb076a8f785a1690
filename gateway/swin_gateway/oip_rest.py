"""The Open Inference Protocol ("KServe v2") over REST: paths under /v2, for clients such as Triton's.

Thin: `oip_json` reads and writes the bodies, `oip_inference` says what they mean, `Classifier` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from swin_gateway import large_work, oip_inference, oip_json, oip_metadata
from swin_gateway.body import BodyReader, Take
from swin_gateway.classifier import Classifier
from swin_gateway.errors import UnsupportedType
from swin_gateway.oip_inference import Inference
from swin_gateway.oip_json import JSON_LENGTH, Form
from swin_gateway.oip_schema import (
    InferredJson,
    LiveJson,
    ModelMetadataJson,
    ModelReadyJson,
    OipErrorJson,
    ReadyJson,
    ServerMetadataJson,
)
from swin_gateway.readiness import Readiness
from swin_gateway.rest_openapi import BINARY, ERRORS, UNGUARDED
from swin_gateway.rest_work import RestWork, Timeout, respond, served

FAILURES: dict[int | str, dict[str, Any]] = {status: each | {"model": OipErrorJson} for status, each in ERRORS.items()}
REFUSALS: dict[int | str, dict[str, Any]] = {status: FAILURES[status] for status in (401, 403)}
BODY = {
    "parameters": [
        {
            "name": JSON_LENGTH,
            "in": "header",
            "required": False,
            "schema": {"type": "integer"},
            "description": "bytes of the body that are JSON, where tensors follow it",
        }
    ],
    "requestBody": {
        "required": True,
        "description": "JSON, and behind it the tensors whose parameter `binary_data_size` says so.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferJson"}},
            "application/octet-stream": BINARY,
        },
    },
}
BINARY_ANSWER: dict[str, Any] = {"content": {"application/octet-stream": BINARY}}


class OipRest:
    def __init__(self, classifier: Classifier, readiness: Readiness, body: BodyReader) -> None:
        self._classifier = classifier
        self._readiness = readiness
        self._body = body

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v2", tags=["open inference protocol"])
        probe: dict[str, Any] = {"openapi_extra": UNGUARDED}
        router.get("", response_model=ServerMetadataJson, responses=REFUSALS)(self.server)
        router.get("/health/live", response_model=LiveJson, **probe)(self.live)
        router.get("/health/ready", response_model=ReadyJson, responses={503: {"model": ReadyJson}}, **probe)(
            self.ready
        )
        missing = REFUSALS | {404: FAILURES[404]}
        for path, metadata, ready, infer in (
            ("/models/{model}", self.model, self.model_ready, self.infer),
            (
                "/models/{model}/versions/{version}",
                self.model_version,
                self.model_ready_version,
                self.infer_version,
            ),
        ):
            router.get(path, response_model=ModelMetadataJson, responses=missing)(metadata)
            router.get(
                f"{path}/ready", response_model=ModelReadyJson, responses=missing | {503: {"model": ModelReadyJson}}
            )(ready)
            router.post(
                f"{path}/infer",
                response_model=InferredJson,
                responses=FAILURES | {200: BINARY_ANSWER},
                openapi_extra=BODY,
            )(infer)
        return router

    async def server(self, request: Request) -> JSONResponse:
        """Name, version and extensions."""
        served(request).method = "ServerMetadata"
        return JSONResponse(oip_metadata.server_metadata())

    async def live(self) -> JSONResponse:
        """200 while the process serves, whatever the load."""
        return JSONResponse({"live": True})

    async def ready(self) -> JSONResponse:
        """200 while every model has a live worker that answers and the service is not draining; else 503."""
        ready = self._readiness.ready
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request, model: str) -> JSONResponse:
        """A model's tensors and versions."""
        return self._model(request, model, "")

    async def model_version(self, request: Request, model: str, version: str) -> JSONResponse:
        """A model's tensors and versions."""
        return self._model(request, model, version)

    async def model_ready(self, model: str) -> JSONResponse:
        """200 while it has a live worker that answers; else 503."""
        return self._model_ready(model, "")

    async def model_ready_version(self, model: str, version: str) -> JSONResponse:
        """200 while it has a live worker that answers; else 503."""
        return self._model_ready(model, version)

    async def infer(self, request: Request, model: str, timeout: Timeout = None) -> Response:
        """Classes, or the embedding, of each image. One image's failure is the call's."""
        return await self._infer(request, model, "", timeout)

    async def infer_version(self, request: Request, model: str, version: str, timeout: Timeout = None) -> Response:
        """Classes, or the embedding, of each image. One image's failure is the call's."""
        return await self._infer(request, model, version, timeout)

    def _model(self, request: Request, name: str, version: str) -> JSONResponse:
        call = served(request)
        call.method = "ModelMetadata"
        call.by(self._classifier.models.find(name, version))
        return JSONResponse(oip_metadata.model_metadata(self._classifier.models, name, version))

    def _model_ready(self, name: str, version: str) -> JSONResponse:
        model = self._classifier.models.find(name, version)
        ready = self._readiness.of(model)
        return JSONResponse({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def _infer(self, request: Request, name: str, version: str, timeout: float | None) -> Response:
        with RestWork.begin(self._classifier, request, "ModelInfer", name, version, timeout) as work:
            inference, form = await work.read(self._read)
            manifest = work.model.manifest
            asked = oip_inference.asked(inference, manifest)
            images = await oip_inference.images_of(
                inference, self._classifier.max_images, self._classifier.max_image_bytes
            )
            form.check_listed(asked.outputs, len(images) * asked.options.answer_numbers(manifest))
            facts = {"id": inference.id} if inference.id else {}
            del inference  # which holds all that was sent
            found = await work.classify(images, asked.options, whole=True, timeout=asked.timeout)
            facts |= {"model_name": found.model, "model_version": found.version}

            def write(headers: Mapping[str, str]) -> Response:
                body, size = oip_json.write(facts, oip_inference.answer(found, asked), form)
                if size is None:
                    return Response(body, media_type="application/json", headers=dict(headers))
                return Response(
                    body, media_type="application/octet-stream", headers={**headers, JSON_LENGTH: str(size)}
                )

            return await respond(found, write)

    async def _read(self, request: Request, take: Take) -> tuple[Inference, Form]:
        if coding := request.headers.get("content-encoding"):
            raise UnsupportedType(f"a body in the coding {coding[:100]!r} is not taken; send it as it is")
        content = await self._body.content(request, take)
        return await large_work.done(len(content), oip_json.read, content, request.headers.get(JSON_LENGTH))
