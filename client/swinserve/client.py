"""Images as bytes or files -> Classification, over whichever protocol the URL names."""

import math
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import InternalError, InvalidRequest, SwinserveError, TooLarge, UndecodableImage, UnsupportedType
from .results import Classification, ImageResult, Model, Timing
from .transport import Call, Question, Transport, open_transport

Image = bytes | str | Path
"""An encoded image's bytes, or the path of its file."""

IMAGE_ERRORS = (TooLarge, UnsupportedType, UndecodableImage)


class Client:
    """A connection to one Swinserve service.

    `url` is `grpc://host[:port]` (port 8001 if not given), `http://…` or `https://…`; the methods, results and
    exceptions are the same. `timeout` is the deadline of every call that does not bring its own, in seconds: the
    service stops working on a call when it has passed. Over HTTP, each wait (to connect, to send, to receive) is
    bounded by it.

    One client may be shared by threads. Close it, or use it as a context manager. Nothing connects before the first
    call. Raises ValueError for a URL that is none of these.

    Every method raises a SwinserveError when the call fails: see `swinserve.errors` for the tree.
    """

    def __init__(self, url: str = "grpc://127.0.0.1:8001", *, timeout: float = 10.0) -> None:
        self.url = url
        self.timeout = timeout
        self._open: Transport | None = open_transport(url)

    def classify(
        self,
        image: Image,
        *,
        model: str = "",
        version: str = "",
        top_k: int | None = None,
        min_score: float = 0.0,
        embedding: bool = False,
        class_activation_map: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Classification:
        """Classifies one image; `results` then holds one result, which is no error.

        `image` is the encoded file's bytes, or its path (str or Path). An empty `model` is the service's default model
        and an empty `version` the model's default version. At most `top_k` predictions come back (the service's default
        is 5; 0 is none, to get the embedding alone), those with a score under `min_score` (0..1) left out; a model
        without classes has none and gives its embedding. `timeout` is in seconds. `request_id` names the call in the
        service's log; without one the client makes one up.

        `embedding` asks for the pooled features: `result.embedding`, float32 (D,). `class_activation_map` asks for each
        prediction's map: `prediction.class_activation_map`, float32 (h, w), which covers `result.map_region`; its mean
        is the class's logit, exactly if the model runs in float32 and within rounding in bfloat16. InvalidRequest if
        the model cannot give them: `Model.embedding_size` and `Model.activation_map_height` tell.

        Raises SwinserveError, the image's own error among them, and OSError when the file cannot be read.
        """
        question = Question((_content(image),), model, version, top_k, min_score, embedding, class_activation_map)
        answer = self._classify(question, timeout, request_id)
        if answer.results[0].error is not None:
            raise answer.results[0].error
        return answer

    def classify_many(
        self,
        images: Iterable[Image],
        *,
        model: str = "",
        version: str = "",
        top_k: int | None = None,
        min_score: float = 0.0,
        embedding: bool = False,
        class_activation_map: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Classification:
        """Classifies several images in one call; one result or error (`result.error`) for each, in order.

        The images go in one message and are admitted together or not at all, so keep to some tens of them; over gRPC an
        answer above 64 MiB is not taken. The options are those of `classify`. A single image that is bad gives a
        Classification with that one error; its `model` and `version` are then those that were asked for, as no worker
        answered.

        Raises SwinserveError when the call as a whole fails, and OSError when a file cannot be read.
        """
        question = Question(
            tuple(map(_content, images)), model, version, top_k, min_score, embedding, class_activation_map
        )
        try:
            return self._classify(question, timeout, request_id)
        except IMAGE_ERRORS as error:
            # The service ends a call with one image with that image's error. A caller with a list must not meet
            # another kind of answer only because the list was short.
            if len(question.images) != 1:
                raise
            return _refused(question, error)

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Every model version that is served. `timeout` is in seconds. Raises SwinserveError."""
        return self._transport.models(self._call(timeout, None))

    def model(self, name: str, version: str = "", *, timeout: float | None = None) -> Model:
        """Describes one model; an empty `version` is its default one. Raises NotFound and other SwinserveErrors."""
        if not name:
            raise InvalidRequest("give the model's name", reason="INVALID_REQUEST")
        return self._transport.model(name, version, self._call(timeout, None))

    def close(self) -> None:
        """Closes the connection; closing twice does no harm."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _transport(self) -> Transport:
        if self._open is None:
            raise RuntimeError("this Client is closed")
        return self._open

    def _classify(self, question: Question, timeout: float | None, request_id: str | None) -> Classification:
        call = self._call(timeout, request_id)
        if not question.images:
            raise InvalidRequest("give at least one image", reason="INVALID_REQUEST")
        if question.version and not question.model:
            # REST has no path for it, and the two protocols must not differ.
            raise InvalidRequest("a version needs the name of its model", reason="INVALID_REQUEST")
        answer = self._transport.classify(question, call)
        if len(answer.results) != len(question.images):
            message = f"{len(question.images)} images were sent and {len(answer.results)} results came back"
            raise InternalError(message, request_id=answer.request_id)
        if missing := question.missing(answer):
            message = f"the service left out the {missing}; is it older than this client?"
            raise InternalError(message, request_id=answer.request_id)
        return answer

    def _call(self, timeout: float | None, request_id: str | None) -> Call:
        timeout = self.timeout if timeout is None else timeout
        if not (timeout > 0 and math.isfinite(timeout)):
            raise InvalidRequest(f"timeout is in seconds, above 0 and finite, not {timeout}", reason="INVALID_REQUEST")
        # Made here and not by the service, so that a call that got no answer can be looked up too.
        request_id = secrets.token_hex(16) if request_id is None else request_id
        if not (request_id.isascii() and request_id.isprintable() and request_id.strip() == request_id != ""):
            message = f"a request id is printable ASCII without blanks around it, not {request_id!r}"
            raise InvalidRequest(message, reason="INVALID_REQUEST")
        return Call(timeout, request_id)


def _content(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def _refused(question: Question, error: SwinserveError) -> Classification:
    result = ImageResult(error=error)
    return Classification(question.model, question.version, "", "", (result,), Timing(), error.request_id)
