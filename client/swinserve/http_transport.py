"""Question -> the service's REST interface over httpx -> Classification."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from .errors import (
    UNREACHABLE,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    SwinserveError,
    Unavailable,
    error_class,
)
from .json_answers import classification, model, models
from .results import Classification, Model
from .transport import Call, Question

# What httpx raises -> what we raise, and the reason word. A connection time-out is the deadline's, as it is in gRPC.
FOREIGN: tuple[tuple[type[Exception], type[SwinserveError], str], ...] = (
    (httpx.TimeoutException, DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (httpx.NetworkError, Unavailable, UNREACHABLE),
    (httpx.ProxyError, Unavailable, UNREACHABLE),
    (httpx.RemoteProtocolError, Unavailable, UNREACHABLE),
    (httpx.LocalProtocolError, InvalidRequest, "INVALID_REQUEST"),
    (httpx.UnsupportedProtocol, InvalidRequest, "INVALID_REQUEST"),
    (httpx.InvalidURL, InvalidRequest, "INVALID_REQUEST"),
    (httpx.DecodingError, InternalError, ""),
    (httpx.TooManyRedirects, InternalError, ""),
    (httpx.HTTPStatusError, InternalError, ""),
    (httpx.StreamError, InternalError, ""),
    (httpx.CookieConflict, InternalError, ""),
)
HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)


class HttpTransport:
    """Speaks to the service whose root is `url`; keeps connections alive between calls."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        try:
            self._http = httpx.Client(base_url=self._url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{url!r} is not a URL: {error}") from error

    def classify(self, question: Question, call: Call) -> Classification:
        path = f"{_path(question.model, question.version)}:classify" if question.model else "/v1/classify"
        answer, request_id = self._ask("POST", path, call, params=_options(question), **_body(question.images))
        with _understood(answer, request_id):
            return classification(answer.json(), request_id)

    def models(self, call: Call) -> list[Model]:
        answer, request_id = self._ask("GET", "/v1/models", call)
        with _understood(answer, request_id):
            return models(answer.json())

    def model(self, name: str, version: str, call: Call) -> Model:
        answer, request_id = self._ask("GET", _path(name, version), call)
        with _understood(answer, request_id):
            return model(answer.json())

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, path: str, call: Call, **options: Any) -> tuple[httpx.Response, str]:
        """A good answer and its request id."""
        headers = {"x-request-id": call.request_id, "x-request-timeout": f"{call.timeout:g}"}
        headers.update(options.pop("headers", {}))
        with self._translated(call):
            answer = self._http.request(method, path, headers=headers, timeout=call.timeout, **options)
        request_id = answer.headers.get("x-request-id", call.request_id)
        if answer.status_code != httpx.codes.OK:
            raise _error(answer, request_id)
        return answer, request_id

    @contextmanager
    def _translated(self, call: Call) -> Iterator[None]:
        try:
            yield
        except HTTPX_ERRORS as error:
            kind, reason, message = foreign(error, self._url, call.timeout)
            raise kind(message, reason=reason, request_id=call.request_id) from error


def foreign(error: Exception, url: str, timeout: float) -> tuple[type[SwinserveError], str, str]:
    """An exception of httpx -> our class, the reason, the message."""
    matches = ((ours, reason) for theirs, ours, reason in FOREIGN if isinstance(error, theirs))
    ours, reason = next(matches, (InternalError, ""))
    if reason == UNREACHABLE:
        return ours, reason, f"cannot reach {url}: {error}"
    if ours is DeadlineExceeded:
        return ours, reason, f"{url} did not answer within {timeout:g} s"
    return ours, reason, f"{type(error).__name__} from {url}: {error}"


@contextmanager
def _understood(answer: httpx.Response, request_id: str) -> Iterator[None]:
    """Reading an answer that lacks what the contract promises is the service's fault, not a KeyError of ours."""
    try:
        yield
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
