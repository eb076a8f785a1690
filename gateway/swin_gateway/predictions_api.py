"""TorchServe's own paths: POST or PUT /predictions/{model}[/{version}] with one image -> {label: score}; GET /ping.

So that its users move over without a change. Failures have TorchServe's shape and our statuses.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from swin_gateway.body import BodyReader
from swin_gateway.classifier import Classifier
from swin_gateway.errors import InvalidRequest
from swin_gateway.options import Options
from swin_gateway.readiness import Readiness
from swin_gateway.rest_openapi import BINARY, ERRORS, UNGUARDED
from swin_gateway.rest_work import RestWork, Timeout, respond
from swin_proto.v1.classifier_pb2 import Predictions

TOP_K = 5
"""As TorchServe's image_classifier."""


class PingJson(BaseModel):
    status: str = Field(description="Healthy or Unhealthy")


class PredictionsErrorJson(BaseModel):
    code: int = Field(description="the HTTP status")
    type: str = Field(description="TorchServe's name of it, e.g. ModelNotFoundException, or our reason")
    message: str


BODY = {
    "requestBody": {
        "required": True,
        "description": "One encoded image as the raw body, or as a multipart file.",
        "content": {
            **dict.fromkeys(("application/octet-stream", "image/jpeg", "image/png", "image/webp"), BINARY),
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["data"], "properties": {"data": BINARY["schema"]}}
            },
        },
    }
}
FAILURES: dict[int | str, dict[str, Any]] = {
    status: each | {"model": PredictionsErrorJson} for status, each in ERRORS.items()
}


class PredictionsApi:
    def __init__(self, classifier: Classifier, readiness: Readiness, body: BodyReader) -> None:
        self._classifier = classifier
        self._readiness = readiness
        self._body = body

    def router(self) -> APIRouter:
        router = APIRouter(tags=["torchserve"])
        described: dict[str, Any] = {
            "response_model": dict[str, float] | list[float],
            "responses": FAILURES,
            "openapi_extra": BODY,
        }
        for path, endpoint in (
            ("/predictions/{model}", self.predict),
            ("/predictions/{model}/{version}", self.predict_version),
        ):
            router.post(path, **described)(endpoint)
            router.put(path, include_in_schema=False)(endpoint)  # what `curl -T` sends
        router.get("/ping", response_model=PingJson, responses={500: {"model": PingJson}}, openapi_extra=UNGUARDED)(
            self.ping
        )
        return router

    async def ping(self) -> JSONResponse:
        """200 while the service is ready, as /readyz says it; else 500."""
        ready = self._readiness.ready
        return JSONResponse({"status": "Healthy" if ready else "Unhealthy"}, 200 if ready else 500)

    async def predict(self, request: Request, model: str, timeout: Timeout = None) -> Response:
        """The best classes of one image with their scores; of a model without classes its embedding."""
        return await self._predict(request, model, "", timeout)

    async def predict_version(self, request: Request, model: str, version: str, timeout: Timeout = None) -> Response:
        """The best classes of one image with their scores; of a model without classes its embedding."""
        return await self._predict(request, model, version, timeout)

    async def _predict(self, request: Request, name: str, version: str, timeout: float | None) -> Response:
        with RestWork.begin(self._classifier, request, "Predictions", name, version, timeout) as work:
            if request.query_params:
                raise InvalidRequest("no options here; /v1/models/{model}:classify takes them")
            images = await work.read(self._body.images)
            if len(images) != 1:
                raise InvalidRequest(f"{len(images)} images; send one, or several to /v1/models/{{model}}:classify")
            found = await work.classify(images, Options(top_k=TOP_K))
            answer = _answer(found.results[0].predictions, work.model.labels)
            return await respond(found, lambda headers: JSONResponse(answer, headers=dict(headers)))


def _answer(found: Predictions, labels: Sequence[str]) -> dict[str, float] | list[float]:
    if found.HasField("embedding"):  # nobody asked for it here: the model has nothing else
        return list(struct.unpack(f"<{found.embedding.shape[0]}f", found.embedding.data))
    # Two classes of one name must not become one: ImageNet has two cranes.
    return {
        f"{each.label} ({each.index})" if labels.count(each.label) > 1 else each.label: each.score
        for each in found.predictions
    }
