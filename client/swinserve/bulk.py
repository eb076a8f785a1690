"""Many images -> calls of some images each, several under way at a time -> an answer for each image.

Measured on two cores with small images: 4 calls of 8 images get 960 images a second, one image a call 550, and the
service's own ClassifyStream 830, whose images moreover could take no turns over several addresses.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from threading import Thread
from typing import Generic, TypeVar

from .asking import Image, unanswered
from .errors import SwinserveError
from .image_files import ImageFile
from .results import Classification, ImageResult

T = TypeVar("T")
R = TypeVar("R")

BYTES_PER_CALL = 8_000_000
"""Well under the limit of one message that services, and the proxies before them, commonly have."""
IMAGES_PER_CALL = 16
CALLS = 4
"""At a time, unless that makes calls of more than 16 images."""


@dataclass(frozen=True)
class StreamedImage:
    """One image of a stream: where it stood in the input, as it was given, and the answer that it alone got.

    `answer.results` holds one result; an image that failed has its error there (`result.error`), an unreadable file
    (UNREADABLE_FILE) and a call that failed as a whole included.
    """

    index: int
    image: Image
    answer: Classification

    @property
    def result(self) -> ImageResult:
        return self.answer.results[0]


@dataclass(frozen=True)
class Window:
    """How `in_flight` images are split: at most so many calls, of at most so many images."""

    calls: int
    images: int

    @classmethod
    def of(cls, in_flight: int) -> "Window":
        """ValueError for none at all."""
        if in_flight < 1:
            raise ValueError(f"in_flight is 1 or more, not {in_flight}")
        images = min(max(in_flight // CALLS, 1), IMAGES_PER_CALL)
        return cls(in_flight // images, images)


class Batch(Generic[T]):
    """The files of one call; one above 8 MB goes alone, for the service to judge."""

    def __init__(self, most: int) -> None:
        self.files: list[ImageFile[T]] = []
        self._most, self._size = most, 0

    @property
    def full(self) -> bool:
        return len(self.files) == self._most

    def has_room_for(self, file: ImageFile[T]) -> bool:
        return not self.files or self._size + len(file.content) <= BYTES_PER_CALL

    def add(self, file: ImageFile[T]) -> None:
        self.files.append(file)
        self._size += len(file.content)

    def readable(self) -> list[bytes]:
        return [file.content for file in self.files if file.error is None]

    def answered(self, answer: Classification | SwinserveError | None) -> "list[Answered[T]]":
        """answer: to the readable ones, or what became of their call; None where there were none"""
        results = iter(answer.results if isinstance(answer, Classification) else ())
        return [(file, self._alone(file, answer, results)) for file in self.files]

    def _alone(
        self, file: ImageFile[T], answer: Classification | SwinserveError | None, results: Iterator[ImageResult]
    ) -> Classification:
        if file.error is not None or answer is None:
            assert file.error is not None
            return unanswered("", "", file.error)
        if isinstance(answer, SwinserveError):
            return unanswered("", "", answer)
        return replace(answer, results=(next(results),))


Answered = tuple[ImageFile[T], Classification]
Ask = Callable[[Sequence[bytes]], Classification]


def batches(files: Iterable[ImageFile[T]], most: int) -> Iterator[Batch[T]]:
    """In order; a full one is handed out before anything more is read."""
    batch = Batch[T](most)
    for file in files:
        if not batch.has_room_for(file):
            yield batch
            batch = Batch[T](most)
        batch.add(file)
        if batch.full:
            yield batch
            batch = Batch[T](most)
    if batch.files:
        yield batch


def answered(
    files: Iterable[ImageFile[T]], ask: Ask, *, in_flight: int = 32, ordered: bool = True
) -> Iterator[Answered[T]]:
    """Reads on only while fewer than `in_flight` are read and not yet handed out. `ask` runs in threads.

    What `files` raises is raised after the answers to all that came before it.
    """
    broken: list[Exception] = []
    window = Window.of(in_flight)
    under_way: list[Future[list[Answered[T]]]] = []
    for batch in batches(_until_it_breaks(files, broken), window.images):
        under_way.append(_started(lambda batch=batch: _ask(batch, ask)))  # type: ignore[misc]
        while len(under_way) == window.calls or any(call.done() for call in _eligible(under_way, ordered)):
            yield from _next(under_way, ordered)
    while under_way:
        yield from _next(under_way, ordered)
    if broken:
        raise broken[0]


def _until_it_breaks(files: Iterable[ImageFile[T]], broken: list[Exception]) -> Iterator[ImageFile[T]]:
    try:
        yield from files
    except Exception as error:  # noqa: BLE001 - it is raised at the end
        broken.append(error)


def _ask(batch: Batch[T], ask: Ask) -> list[Answered[T]]:
    readable = batch.readable()
    try:
        return batch.answered(ask(readable) if readable else None)
    except SwinserveError as error:
        return batch.answered(error)


def _eligible(under_way: list[Future[R]], ordered: bool) -> list[Future[R]]:
    """Those whose answers may be handed out next."""
    return under_way[:1] if ordered else under_way


def _next(under_way: list[Future[R]], ordered: bool) -> R:
    done = next(iter(wait(_eligible(under_way, ordered), return_when=FIRST_COMPLETED).done))
    under_way.remove(done)
    return done.result()


def _started(call: Callable[[], R]) -> Future[R]:
    """A daemon thread each: who stops early (break, ctrl-C) must not wait for a deadline, as a pool would make him."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)

    Thread(target=run, name="swinserve-call", daemon=True).start()
    return future
