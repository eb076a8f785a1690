"""REST over FastAPI: bodies and query parameters -> `Classifier` -> JSON, errors -> status and JSON.

OpenAPI is at /openapi.json, its page at /docs with assets of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from swin_gateway.access import OPEN, Access
from swin_gateway.body import BodyReader
from swin_gateway.calls import Calls
from swin_gateway.classifier import Classifier
from swin_gateway.errors import InvalidRequest, NotFound, ServingError
from swin_gateway.oip_rest import OipRest
from swin_gateway.predictions_api import PredictionsApi
from swin_gateway.probes import Probes
from swin_gateway.readiness import Readiness
from swin_gateway.rest_dialect import OURS, WrongMethod, dialect_of, error_response
from swin_gateway.rest_docs import docs, lead_to_docs
from swin_gateway.rest_frame import RestFrame
from swin_gateway.rest_json import (
    ClassifyJson,
    ModelJson,
    ModelsJson,
    StateJson,
    model_body,
    response_body,
)
from swin_gateway.rest_openapi import BODY, ERRORS, REFUSALS, UNGUARDED, with_bearer
from swin_gateway.rest_options import RestOptions
from swin_gateway.rest_work import RestWork, Timeout, respond, served

OptionsQuery = Annotated[RestOptions, Query()]


class RestApi:
    """The FastAPI application around one `Classifier`."""

    def __init__(
        self,
        classifier: Classifier,
        readiness: Readiness,
        calls: Calls,
        body: BodyReader,
        access: Access = OPEN,
        *,
        root: Callable[[FastAPI], None] = lead_to_docs,
    ) -> None:
        """root: adds what is at /"""
        self._classifier = classifier
        self._probes = Probes(readiness, classifier.models)
        self._body = body
        self.app: FastAPI = FastAPIOffline(
            title="Swinserve",
            version=version("swinserve"),
            summary="Image classification with Swin Transformers",
            docs_url=None,  # ours is
            redoc_url=None,
        )
        self.app.include_router(self._router())
        self.app.include_router(OipRest(classifier, readiness, body).router())
        self.app.include_router(PredictionsApi(classifier, readiness, body).router())
        root(self.app)
        with_bearer(self.app)
        self.app.add_exception_handler(ServingError, _serving_error)
        self.app.add_exception_handler(RequestValidationError, _validation_error)
        self.app.add_exception_handler(HTTPException, _http_error)
        self.app.add_middleware(RestFrame, calls=calls, leaving=lambda: readiness.closing, access=access)

    def _router(self) -> APIRouter:
        router = APIRouter()
        classify = {"response_model": ClassifyJson, "responses": ERRORS, "openapi_extra": BODY, "tags": ["classify"]}
        router.post("/v1/classify", summary="Classify with the default model", **classify)(self.classify)  # type: ignore[arg-type]
        router.post("/v1/models/{model}:classify", summary="Classify", **classify)(self.classify_model)  # type: ignore[arg-type]
        router.post(
            "/v1/models/{model}/versions/{version}:classify",
            summary="Classify with one version",
            **classify,  # type: ignore[arg-type]
        )(self.classify_version)
        missing: dict[str, Any] = {"responses": REFUSALS | {404: ERRORS[404]}, "tags": ["models"]}
        router.get("/v1/models", response_model=ModelsJson, responses=REFUSALS, tags=["models"])(self.models)
        router.get("/v1/models/{model}", response_model=ModelJson, **missing)(self.model)
        router.get("/v1/models/{model}/versions/{version}", response_model=ModelJson, **missing)(self.model_version)
        probe: dict[str, Any] = {"response_model": StateJson, "tags": ["health"], "openapi_extra": UNGUARDED}
        router.get("/livez", **probe)(self._probes.livez)
        router.get("/readyz", responses={503: {"model": StateJson}}, **probe)(self._probes.readyz)
        router.get("/docs", include_in_schema=False)(docs)
        return router

    async def classify(self, request: Request, options: OptionsQuery, timeout: Timeout = None) -> Response:
        """One result or error per image, in order. A call with one image fails with that image's error."""
        return await self._classify(request, "", "", options, timeout)

    async def classify_model(
        self, request: Request, model: str, options: OptionsQuery, timeout: Timeout = None
    ) -> Response:
        """One result or error per image, in order. A call with one image fails with that image's error."""
        return await self._classify(request, model, "", options, timeout)

    async def classify_version(
        self, request: Request, model: str, version: str, options: OptionsQuery, timeout: Timeout = None
    ) -> Response:
        """One result or error per image, in order. A call with one image fails with that image's error."""
        return await self._classify(request, model, version, options, timeout)

    async def models(self, request: Request) -> JSONResponse:
        """Every model version that is served."""
        served(request).method = "ListModels"
        models = self._classifier.models
        return JSONResponse({"models": [model_body(models.describe(each.name, each.version)) for each in models]})

    async def model(self, request: Request, model: str) -> JSONResponse:
        """One model's default version."""
        return self._model(request, model, "")

    async def model_version(self, request: Request, model: str, version: str) -> JSONResponse:
        """One model version."""
        return self._model(request, model, version)

    def _model(self, request: Request, name: str, version: str) -> JSONResponse:
        call = served(request)
        call.method = "GetModel"
        call.by(self._classifier.models.find(name, version))
        return JSONResponse(model_body(self._classifier.models.describe(name, version)))

    async def _classify(
        self, request: Request, name: str, version: str, asked: RestOptions, timeout: float | None
    ) -> Response:
        with RestWork.begin(self._classifier, request, OURS.method, name, version, timeout) as work:
            _refuse_unknown(request.query_params)
            asked.options.for_model(work.model.manifest)  # here already: a refusal need not wait for the body
            images = await work.read(self._body.images)
            asked.check_listed(work.model.manifest, len(images))
            answer = await work.classify(images, asked.options)
            request_id = served(request).request_id
            return await respond(
                answer, lambda headers: JSONResponse(response_body(answer, asked, request_id), headers=headers)
            )


def _refuse_unknown(query: Iterable[str]) -> None:
    """A misspelt option must not be silently without effect."""
    known = sorted(RestOptions.model_fields)
    if unknown := sorted(set(query) - set(known)):
        raise InvalidRequest(f"unknown option {', '.join(unknown)}; there are {', '.join(known)}")


def _answer(request: Request, error: ServingError) -> JSONResponse:
    call = served(request)
    call.failed(error)
    return error_response(error, call.request_id, request.scope["path"])


async def _serving_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServingError)
    return _answer(request, error)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    served(request).method = dialect_of(
        request.scope["path"]
    ).method  # nothing else is validated, before the endpoint runs
    first = error.errors()[0]
    return _answer(request, InvalidRequest(f"{first['loc'][-1]}: {first['msg']}"))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """Starlette's own 404 and 405, in our shape."""
    assert isinstance(error, HTTPException)
    refusal: ServingError = WrongMethod(f"{request.method} is not for this path; /docs shows what is")
    if error.status_code == 404:
        refusal = NotFound("no such path; /docs shows what there is")
    response = _answer(request, refusal)
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response
