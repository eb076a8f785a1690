"""A REST request's body -> the images in it: one raw image, many multipart files, or JSON with base64.

Nothing is kept beyond the cap, whatever Content-Length says.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from swin_gateway import base64_text, large_work
from swin_gateway.errors import Cancelled, InvalidRequest, Overloaded, ServingError, TooLarge

# A refused body is read on and thrown away, so that clients who send first and listen later hear the refusal instead of
# a broken pipe; but not for ever.
DISCARD_BYTES = 64 * 2**20
DISCARD_SECONDS = 5.0
Take = Callable[[int], None]
"""Is told of each chunk's size before it is kept; raises Overloaded where it must not be."""


def take_all(size: int) -> None:
    pass


# The multipart parser jumps from one boundary to the next, but goes through some bodies byte by byte, as through spaces
# after a boundary: 24 MiB would take seconds, in which nothing else is answered.
PARSE_SECONDS = 0.5
"""Of CPU time, for one body."""
GONE = "the client went away while sending"
REPEATED = 100
"""Characters of a body that an error repeats."""


class JsonImage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    content: str = Field(description="the file's bytes in base64")


class JsonBody(BaseModel):
    """{"images": [{"content": "<base64>"}, …]}"""

    model_config = ConfigDict(extra="forbid")

    images: list[JsonImage]


class BodyReader:
    """Reads one request's body with limits in bytes and in number of images."""

    def __init__(self, *, max_bytes: int, max_images: int) -> None:
        self._max_bytes = max_bytes
        self.max_images = max_images
        self._too_many = f"more than the {max_images} images taken in one call; send several calls"

    async def images(self, request: Request, take: Take = take_all) -> list[bytes]:
        """The images, by the request's content type; anything but multipart or JSON is one raw image.

        So is what calls itself a URL-encoded form: that is what `curl --data-binary @image` says unless told otherwise.

        Raises:
            TooLarge: more bytes or images than the limits.
            InvalidRequest: multipart, JSON or base64 that cannot be parsed.
            Overloaded: `take` said so.
            Cancelled: the client went away while sending.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "multipart/form-data":
            try:
                return await self._multipart(request, take)
            except ClientDisconnect:
                raise Cancelled(GONE) from None
        content = await self.content(request, take)
        if media_type == "application/json":
            return await large_work.done(len(content), self._from_json, content)
        return [content]

    async def content(self, request: Request, take: Take = take_all) -> bytes:
        """The body as it is; raises TooLarge, Overloaded and Cancelled as `images` does."""
        try:
            return b"".join([chunk async for chunk in self._capped(request, take)])
        except ClientDisconnect:
            raise Cancelled(GONE) from None

    async def _capped(self, request: Request, take: Take) -> AsyncGenerator[bytes, None]:
        """The body's chunks; raises TooLarge as soon as the cap is certain to be passed, or Overloaded."""
        stream = request.stream()
        too_large = TooLarge(f"the body has more than the {self._max_bytes} bytes taken; send fewer or smaller images")
        seen = 0
        announced = request.headers.get("content-length", "0")
        refusal: ServingError | None = None
        if announced.isdigit() and int(announced) > self._max_bytes:
            refusal = too_large
        while refusal is None:
            chunk = await anext(stream, None)
            if chunk is None:
                return
            seen += len(chunk)
            refusal = too_large if seen > self._max_bytes else _refusal(take, len(chunk))
            if refusal is None:
                yield chunk
        await _discard(stream)
        raise refusal

    async def _multipart(self, request: Request, take: Take) -> list[bytes]:
        parser = MultiPartParser(
            request.headers,
            _timed(self._capped(request, take)),
            max_files=self.max_images + 1,
            max_fields=self.max_images,
        )
        parser.spool_max_size = self._max_bytes  # in memory: the cap is on the body, and no file is left on a disk
        try:
            form = await parser.parse()
        except MultiPartException as error:
            if error.message.startswith("Too many files"):
                raise TooLarge(self._too_many) from None
            raise InvalidRequest(f"the multipart body cannot be read: {error.message}") from None
        try:
            return [await self._file(name, part) for name, part in form.multi_items()]
        finally:
            await form.close()

    async def _file(self, name: str, part: UploadFile | str) -> bytes:
        if isinstance(part, str):
            raise InvalidRequest(f"the part {name[:REPEATED]!r} is no file; options go into the query")
        return await part.read()

    def _from_json(self, content: bytes) -> list[bytes]:
        # Every image but the last is followed by a comma, the only ones there can be: base64 has none. Counted before
        # anything is parsed, because 24 MiB of tiny images take seconds and a gigabyte to build.
        if content.count(b",") >= self.max_images:
            raise TooLarge(self._too_many)
        try:
            body = JsonBody.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))[:REPEATED] or "body"
            raise InvalidRequest(f'{where}: {first["msg"]}; send {{"images": [{{"content": "<base64>"}}]}}') from None
        try:
            return [base64_text.decoded(image.content) for image in body.images]
        except ValueError as error:
            raise InvalidRequest(f"an image's content is no base64: {error}") from None


def _refusal(take: Take, size: int) -> Overloaded | None:
    try:
        take(size)
    except Overloaded as full:
        return full
    return None


async def _timed(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same chunks. Raises InvalidRequest when who asks for them works too long on them."""
    spent = 0.0
    async for chunk in chunks:
        began = time.thread_time()
        yield chunk
        spent += time.thread_time() - began
        if spent > PARSE_SECONDS:
            raise InvalidRequest("the multipart body takes too long to read; send files alone, each in its part")


async def _discard(stream: AsyncIterator[bytes]) -> None:
    until = time.monotonic() + DISCARD_SECONDS
    seen = 0
    async for chunk in stream:
        seen += len(chunk)
        if seen > DISCARD_BYTES or time.monotonic() > until:
            return
