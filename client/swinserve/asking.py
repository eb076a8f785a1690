"""What both clients do around a try: options -> a checked question, an answer -> a checked one. Waits for nothing."""

import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from .errors import (
    Cancelled,
    InternalError,
    InvalidRequest,
    SwinserveError,
    TooLarge,
    UndecodableImage,
    UnsupportedType,
)
from .results import Classification, ImageResult, Timing
from .transport import Call, Question

Image = bytes | str | Path
"""An encoded image's bytes, or the path of its file."""

Many = TypeVar("Many")

IMAGE_ERRORS = (TooLarge, UnsupportedType, UndecodableImage)


class ClassifyOptions(TypedDict, total=False):
    """The options of every method that classifies; all may be left out.

    An empty `model` is the service's default model and an empty `version` the model's default version. At most `top_k`
    predictions come back (the service's default is 5; 0 is none, to get the embedding alone), those with a score under
    `min_score` (0..1) left out; a model without classes has none and gives its embedding.

    `embedding` asks for the pooled features: `result.embedding`, float32 (D,). `class_activation_map` asks for each
    prediction's map: `prediction.class_activation_map`, float32 (h, w), which covers `result.map_region`; its mean is
    the class's logit, exactly if the model runs in float32 and within rounding in bfloat16. InvalidRequest if the model
    cannot give them: `Model.embedding_size` and `Model.activation_map_height` tell.

    `timeout` is the call's deadline in seconds, over all its tries (the client's own if not given). `request_id` names
    the call in the service's log; without one the client makes one up.
    """

    model: str
    version: str
    top_k: int | None
    min_score: float
    embedding: bool
    class_activation_map: bool
    timeout: float | None
    request_id: str | None


def several(images: Many) -> Many:
    """TypeError for one image, whose letters or bytes would be taken for many."""
    if isinstance(images, str | bytes | bytearray | Path):
        raise TypeError(f"several images are a list or another iterable, not one {type(images).__name__}")
    return images


def asked(images: Sequence[bytes], options: Mapping[str, Any], timeout: float) -> tuple[Question, Call]:
    """`timeout` is the client's. InvalidRequest for what no service could answer."""
    what = {name: value for name, value in options.items() if name not in ("timeout", "request_id")}
    question = Question(tuple(images), **what)
    if not question.images:
        raise InvalidRequest("give at least one image", reason="INVALID_REQUEST")
    if question.version and not question.model:
        # REST has no path for it, and the two protocols must not differ.
        raise InvalidRequest("a version needs the name of its model", reason="INVALID_REQUEST")
    return question, a_call(options.get("timeout"), timeout, options.get("request_id"))


def a_call(timeout: float | None, default: float, request_id: str | None = None) -> Call:
    timeout = default if timeout is None else timeout
    if not (timeout > 0 and math.isfinite(timeout)):
        raise InvalidRequest(f"timeout is in seconds, above 0 and finite, not {timeout}", reason="INVALID_REQUEST")
    # Made here and not by the service, so that a call that got no answer can be looked up too.
    request_id = secrets.token_hex(16) if request_id is None else request_id
    if not (request_id.isascii() and request_id.isprintable() and request_id.strip() == request_id != ""):
        message = f"a request id is printable ASCII without blanks around it, not {request_id!r}"
        raise InvalidRequest(message, reason="INVALID_REQUEST")
    return Call(timeout, request_id)


def named(name: str) -> str:
    if not name:
        raise InvalidRequest("give the model's name", reason="INVALID_REQUEST")
    return name


def checked(question: Question, answer: Classification) -> Classification:
    """InternalError for an answer to another question."""
    if len(answer.results) != len(question.images):
        message = f"{len(question.images)} images were sent and {len(answer.results)} results came back"
        raise InternalError(message, request_id=answer.request_id)
    if missing := question.missing(answer):
        message = f"the service left out the {missing}; is it older than this client?"
        raise InternalError(message, request_id=answer.request_id)
    return answer


def good(answer: Classification) -> Classification:
    """Of one image; raises its error if it has one."""
    if answer.results[0].error is not None:
        raise answer.results[0].error
    return answer


def cancelled(call: Call) -> Cancelled:
    """By whoever closed the client, or left a stream."""
    return Cancelled(
        "the client was closed, or the stream left, meanwhile", reason="CANCELLED", request_id=call.request_id
    )


def refused(question: Question, error: SwinserveError) -> Classification:
    """A call with one image that failed with that image's error -> the answer of a list of one.

    The service ends such a call with the error. A caller with a list must not meet another kind of answer only because
    the list was short. Raises the error where it is the whole call's.
    """
    if len(question.images) != 1 or not isinstance(error, IMAGE_ERRORS):
        raise error
    return unanswered(question.model, question.version, error)


def unanswered(model: str, version: str, error: SwinserveError) -> Classification:
    """Of one image that no worker answered: model and version are those that were asked for."""
    return Classification(model, version, "", "", (ImageResult(error=error),), Timing(), error.request_id)
