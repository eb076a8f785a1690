"""As `client`, awaited: images as bytes or files -> Classification, over whichever protocol the URL names."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

from . import async_bulk
from .asking import ClassifyOptions, Image, a_call, asked, cancelled, checked, good, named, refused, several
from .bulk import StreamedImage
from .errors import SwinserveError
from .image_files import ImageFile, content, image_file
from .results import Classification, Model
from .retry import Attempts
from .service import service
from .transport import AsyncTransport, Call, async_transport_to

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same words, results and exceptions, and methods that are awaited.

    Files are read in threads. A call that is cancelled is given up, and over HTTP a try as a whole ends with its
    deadline. One client belongs to one event loop. Close it with `await client.close()`, or use it in `async with`.
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
        transport: AsyncTransport | None = None,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries is 0 or more, not {retries}")
        self.url = url
        self.timeout = timeout
        self.retries = retries
        # Not `or`: a transport of the caller's own may be anything, an empty container too.
        if transport is None:
            transport = async_transport_to(service(url, ca, cert, key, token))
        self._open: AsyncTransport | None = transport

    async def classify(self, image: Image, **options: Unpack[ClassifyOptions]) -> Classification:
        """As Client.classify."""
        return good(await self._classify([await _content(image)], options))

    async def classify_many(self, images: Iterable[Image], **options: Unpack[ClassifyOptions]) -> Classification:
        """As Client.classify_many."""
        return await self._classify([await _content(image) for image in several(images)], options)

    async def classify_stream(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        ordered: bool = True,
        in_flight: int = 32,
        **options: Unpack[ClassifyOptions],
    ) -> AsyncIterator[StreamedImage]:
        """As Client.classify_stream; `images` may be an async iterable too.

        Leaving the loop early gives up what is under way once the iterator is closed: `contextlib.aclosing` does so at
        once.
        """
        ask = partial(self.classify_many, **options)
        answers = async_bulk.answered(_files(several(images)), ask, in_flight=in_flight, ordered=ordered)
        async with aclosing(answers):
            async for file, answer in answers:
                yield StreamedImage(*file.name, answer)

    async def models(self, *, timeout: float | None = None) -> list[Model]:
        """As Client.models."""
        return await self._tried(self._transport.models, a_call(timeout, self.timeout))

    async def model(self, name: str, version: str = "", *, timeout: float | None = None) -> Model:
        """As Client.model."""
        return await self._tried(partial(self._transport.model, named(name), version), a_call(timeout, self.timeout))

    async def close(self) -> None:
        """Closes the connection; closing twice does no harm. Calls that are under way are Cancelled."""
        # Before it closes, so that who is under way finds out why.
        transport, self._open = self._open, None
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _transport(self) -> AsyncTransport:
        if self._open is None:
            raise RuntimeError("this AsyncClient is closed")
        return self._open

    async def _classify(self, images: Sequence[bytes], options: ClassifyOptions) -> Classification:
        question, call = asked(images, options, self.timeout)
        try:
            return checked(question, await self._tried(partial(self._transport.classify, question), call))
        except SwinserveError as error:
            return refused(question, error)

    async def _tried(self, ask: Callable[[Call], Awaitable[T]], call: Call) -> T:
        attempts = Attempts(call.timeout, self.retries)
        while True:
            try:
                return await ask(Call(attempts.remaining, call.request_id))
            except (Exception, asyncio.CancelledError) as error:
                # A library whose connection is closed under a call says so in words of its own; gRPC cancels it.
                if self._open is None and not _is_cancelled():
                    raise cancelled(call) from error
                if not isinstance(error, SwinserveError):
                    raise
                pause = attempts.pause_after(error)
            await asyncio.sleep(pause)
            if self._open is None:
                raise cancelled(call)


def _is_cancelled() -> bool:
    """Whether somebody cancelled the task itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _content(image: Image) -> bytes:
    return image if isinstance(image, bytes) else await asyncio.to_thread(content, image)


async def _files(images: Iterable[Image] | AsyncIterable[Image]) -> AsyncIterator[ImageFile[tuple[int, Image]]]:
    index = 0
    async for image in images if isinstance(images, AsyncIterable) else _each(images):
        name = (index, image)
        is_here = isinstance(image, bytes)
        yield image_file(name, image) if is_here else await asyncio.to_thread(image_file, name, image)
        index += 1


async def _each(images: Iterable[Image]) -> AsyncIterator[Image]:
    for image in images:
        yield image
