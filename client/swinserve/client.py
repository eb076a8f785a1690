"""Images as bytes or files -> Classification, over whichever protocol the URL names."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self, TypeVar, Unpack

from . import bulk
from .asking import ClassifyOptions, Image, a_call, asked, cancelled, checked, good, named, refused, several
from .bulk import StreamedImage
from .errors import SwinserveError
from .image_files import content, image_file
from .results import Classification, Model
from .retry import Attempts
from .service import service
from .transport import Call, Transport, transport_to

T = TypeVar("T")


class Client:
    """A connection to one Swinserve service.

    `url` is `grpc://host[:port]` (port 8001 if not given) or `http://…`, over TLS `grpcs://…` or `https://…`; the
    methods, results and exceptions are the same. Several addresses have commas between them and take turns, over gRPC
    IP addresses; so do all the addresses of a name, over gRPC.

    `timeout` is the deadline of every call that does not bring its own, in seconds and over all its tries: the service
    stops working on a call when it has passed. Over HTTP, each wait of a try is bounded by it, and an answer whose body
    still comes when it has passed is given up; only the wait that is then under way may outlast it. A call that the
    service had no room for, or that did not reach it, is tried again up to `retries` times, not before the service said
    and only if the deadline leaves the time.

    `ca`, `cert` and `key` are paths of PEM files: whom to trust instead of the usual authorities, and who we are where
    the service asks. `token` is sent as `Authorization: Bearer …`, in clear text where there is no TLS. `transport`
    takes the place of all that the URL says: see `swinserve.testing`.

    One client may be shared by threads. Close it, or use it as a context manager. Nothing connects before the first
    call. Raises ValueError for a URL that is none of these and for files that cannot be used.

    Every method raises a SwinserveError when the call fails: see `swinserve.errors` for the tree.
    """

    def __init__(
        self,
        url: str = "grpc://127.0.0.1:8001",
        *,
        timeout: float = 10.0,
        retries: int = 3,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        token: str | None = None,
        transport: Transport | None = None,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries is 0 or more, not {retries}")
        self.url = url
        self.timeout = timeout
        self.retries = retries
        # Not `or`: a transport of the caller's own may be anything, an empty container too.
        if transport is None:
            transport = transport_to(service(url, ca, cert, key, token))
        self._open: Transport | None = transport

    def classify(self, image: Image, **options: Unpack[ClassifyOptions]) -> Classification:
        """Classifies one image; `results` then holds one result, which is no error.

        `image` is the encoded file's bytes, or its path (str or Path). For the options see ClassifyOptions.

        Raises SwinserveError, the image's own error among them, and OSError when the file cannot be read.
        """
        return good(self._classify([content(image)], options))

    def classify_many(self, images: Iterable[Image], **options: Unpack[ClassifyOptions]) -> Classification:
        """Classifies several images in one call; one result or error (`result.error`) for each, in order.

        The images go in one message and are admitted together or not at all, so keep to some tens of them; over gRPC an
        answer above 64 MiB is not taken. A single image that is bad gives a Classification with that one error; its
        `model` and `version` are then those that were asked for, as no worker answered.

        Raises SwinserveError when the call as a whole fails, and OSError when a file cannot be read.
        """
        return self._classify([content(image) for image in several(images)], options)

    def classify_stream(
        self, images: Iterable[Image], *, ordered: bool = True, in_flight: int = 32, **options: Unpack[ClassifyOptions]
    ) -> Iterator[StreamedImage]:
        """Classifies any number of images, reading them only as fast as the answers are taken.

        At most `in_flight` are read and not yet handed out. They travel several in a call (`in_flight` // 4, 16 at
        most), and several calls at a time; with `in_flight` under 8 each image alone. In order if `ordered`, else as
        they are ready; `index` and `image` tell which. An answer that is ready waits while the next image is read: for
        images that come slowly, as from a camera, use `classify`, or AsyncClient, whose answers do not wait.

        What fails is told by its `result.error` and ends nothing: images that cannot be read or decoded, and whole
        calls. What `images` itself raises comes after the answers to all before it. Raises ValueError for `in_flight`
        under 1. `timeout` is each call's, and a `request_id` all calls'. Who leaves the loop early waits for nothing;
        calls that are under way are not tried again.
        """
        files = (image_file((index, image), image) for index, image in enumerate(several(images)))
        left = Event()
        ask = partial(self._classify, options=options, given_up=left.is_set)
        try:
            for file, answer in bulk.answered(files, ask, in_flight=in_flight, ordered=ordered):
                yield StreamedImage(*file.name, answer)
        finally:
            left.set()

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Every model version that is served. `timeout` is in seconds. Raises SwinserveError."""
        return self._tried(self._transport.models, a_call(timeout, self.timeout))

    def model(self, name: str, version: str = "", *, timeout: float | None = None) -> Model:
        """Describes one model; an empty `version` is its default one. Raises NotFound and other SwinserveErrors."""
        return self._tried(partial(self._transport.model, named(name), version), a_call(timeout, self.timeout))

    def close(self) -> None:
        """Closes the connection; closing twice does no harm.

        Calls that other threads have under way end as Cancelled: over gRPC at once, over HTTP after their present wait.
        """
        # Before it closes, so that who is under way finds out why.
        transport, self._open = self._open, None
        if transport is not None:
            transport.close()

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

    def _classify(
        self, images: Sequence[bytes], options: ClassifyOptions, given_up: Callable[[], bool] = lambda: False
    ) -> Classification:
        question, call = asked(images, options, self.timeout)
        try:
            return checked(question, self._tried(partial(self._transport.classify, question), call, given_up))
        except SwinserveError as error:
            return refused(question, error)

    def _tried(self, ask: Callable[[Call], T], call: Call, given_up: Callable[[], bool] = lambda: False) -> T:
        attempts = Attempts(call.timeout, self.retries)
        while True:
            try:
                return ask(Call(attempts.remaining, call.request_id))
            except Exception as error:
                # A library whose connection is closed under a call says so in words of its own.
                if self._open is None:
                    raise cancelled(call) from error
                if not isinstance(error, SwinserveError):
                    raise
                pause = attempts.pause_after(error)
            time.sleep(pause)
            if self._open is None or given_up():
                raise cancelled(call)
