"""Questions -> requests to the REST interface; its answers -> results or SwinserveErrors. Nothing is sent here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from . import json_answers
from .errors import InternalError, SwinserveError, error_class
from .results import Classification, Model
from .service import Service
from .transport import Call, Question

T = TypeVar("T")


@dataclass(frozen=True)
class Exchange(Generic[T]):
    """What to send where, in httpx's words, and how to read the answer: (decoded body, request id) -> result."""

    method: str
    path: str
    read: Callable[[Any, str], T]
    params: Mapping[str, int | float | str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


def classify(question: Question) -> Exchange[Classification]:
    path = f"{_path(question.model, question.version)}:classify" if question.model else "/v1/classify"
    return Exchange("POST", path, json_answers.classification, _options(question), _body(question.images))


def models() -> Exchange[list[Model]]:
    return Exchange("GET", "/v1/models", lambda body, _: json_answers.models(body))


def model(name: str, version: str) -> Exchange[Model]:
    return Exchange("GET", _path(name, version), lambda body, _: json_answers.model(body))


def headers(service: Service, call: Call) -> dict[str, str]:
    mine = {"x-request-id": call.request_id, "x-request-timeout": f"{call.timeout:g}"}
    return mine if service.token is None else mine | {"authorization": f"Bearer {service.token}"}


def read(exchange: Exchange[T], answer: httpx.Response, call: Call) -> T:
    """Raises the service's SwinserveError, and InternalError for an answer that lacks what the contract promises."""
    request_id = answer.headers.get("x-request-id", call.request_id)
    if answer.status_code != httpx.codes.OK:
        raise _error(answer, request_id)
    try:
        return exchange.read(answer.json(), request_id)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{answer.url} does not answer as Swinserve does: {type(error).__name__}: {error}"
        raise InternalError(message, request_id=request_id) from error


def _path(name: str, version: str) -> str:
    # A name may hold anything, and a slash or a colon in it must not change the route.
    return f"/v1/models/{quote(name, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def _options(question: Question) -> dict[str, int | float | str]:
    chosen: dict[str, int | float | str] = {} if question.top_k is None else {"top_k": question.top_k}
    if question.min_score:
        chosen["min_score"] = question.min_score
    # Numbers in base64 are a quarter as long as written out, and exact.
    arrays = {"embedding": question.embedding, "class_activation_map": question.class_activation_map}
    return chosen | {name: "base64" for name, wanted in arrays.items() if wanted}


def _body(images: tuple[bytes, ...]) -> dict[str, Any]:
    if len(images) == 1:
        return {"content": images[0], "headers": {"content-type": "application/octet-stream"}}
    # Servers take a part for a file only if it has a file name.
    return {"files": [("images", (f"{i}", image, "application/octet-stream")) for i, image in enumerate(images)]}


def _error(answer: httpx.Response, request_id: str) -> SwinserveError:
    """The service's own error; or, where a proxy or another server answered, what the status alone says."""
    error = _error_body(answer)
    reason, code = str(error.get("reason", "")), str(error.get("code", ""))
    fallback = f"{answer.url} answered {answer.status_code} {answer.reason_phrase}; is it a Swinserve service?"
    return error_class(reason=reason, http=answer.status_code)(
        str(error.get("message") or fallback),
        code=code,
        http=answer.status_code,
        reason=reason,
        request_id=str(error.get("request_id") or request_id),
        retry_after=_seconds(answer.headers.get("retry-after", "")),
    )


def _error_body(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, Mapping) else {}


def _seconds(retry_after: str) -> float | None:
    # HTTP also allows a date here; the service never sends one, and a proxy's is not worth trusting its clock.
    return float(retry_after) if retry_after.replace(".", "", 1).isdecimal() else None
