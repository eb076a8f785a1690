"""As `bulk`, awaited: many images -> calls of some images each, several under way at a time -> an answer for each."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from .bulk import Answered, Batch, Window
from .errors import SwinserveError
from .image_files import ImageFile
from .results import Classification

T = TypeVar("T")
Ask = Callable[[Sequence[bytes]], Awaitable[Classification]]


async def answered(
    files: AsyncIterator[ImageFile[T]], ask: Ask, *, in_flight: int = 32, ordered: bool = True
) -> AsyncGenerator[Answered[T], None]:
    """Reads on only while fewer than `in_flight` are read and not yet handed out. Answers that are there do not wait
    for input that is slow. What `files` raises is raised after the answers to all that came before it."""
    broken: list[Exception] = []
    stream = Stream(_until_it_breaks(files, broken), ask, Window.of(in_flight), ordered)
    try:
        while stream.goes_on:
            for each in await stream.next():
                yield each
    finally:
        await stream.stop()
    if broken:
        raise broken[0]


class Stream(Generic[T]):
    """What is being read, and the calls under way."""

    def __init__(self, files: AsyncIterator[ImageFile[T]], ask: Ask, window: Window, ordered: bool) -> None:
        self._source = _batches(files, window.images)
        self._ask, self._calls, self._ordered = ask, window.calls, ordered
        self._reading: asyncio.Future[Batch[T] | None] | None = None
        self._under_way: list[asyncio.Task[list[Answered[T]]]] = []
        self._ended = False

    @property
    def goes_on(self) -> bool:
        return bool(self._under_way) or not self._ended

    async def next(self) -> list[Answered[T]]:
        """The answers of the next call that has them; none where something was read instead."""
        if self._reading is None and not self._ended and len(self._under_way) < self._calls:
            self._reading = asyncio.ensure_future(anext(self._source, None))
        expected: list[asyncio.Future[Any]] = [*(self._under_way[:1] if self._ordered else self._under_way)]
        waiting = expected if self._reading is None else [*expected, self._reading]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._reading in done:
            self._take(self._reading.result())
        call = next((call for call in self._under_way if call in done), None)
        if call is None:
            return []
        self._under_way.remove(call)
        return call.result()

    def _take(self, batch: Batch[T] | None) -> None:
        self._reading = None
        if batch is None:
            self._ended = True
        else:
            self._under_way.append(asyncio.create_task(_answered(batch, self._ask)))

    async def stop(self) -> None:
        """Gives up what is under way."""
        left: list[asyncio.Future[Any]] = [*self._under_way, *([] if self._reading is None else [self._reading])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._source.aclose()


async def _until_it_breaks(files: AsyncIterator[ImageFile[T]], broken: list[Exception]) -> AsyncIterator[ImageFile[T]]:
    try:
        async for file in files:
            yield file
    except Exception as error:  # noqa: BLE001 - it is raised at the end
        broken.append(error)


async def _batches(files: AsyncIterator[ImageFile[T]], most: int) -> AsyncGenerator[Batch[T], None]:
    batch = Batch[T](most)
    async for file in files:
        if not batch.has_room_for(file):
            yield batch
            batch = Batch[T](most)
        batch.add(file)
        if batch.full:
            yield batch
            batch = Batch[T](most)
    if batch.files:
        yield batch


async def _answered(batch: Batch[T], ask: Ask) -> list[Answered[T]]:
    readable = batch.readable()
    try:
        return batch.answered(await ask(readable) if readable else None)
    except SwinserveError as error:
        return batch.answered(error)
