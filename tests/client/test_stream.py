"""Client.classify_stream: any number of images, read as fast as answers are taken; both protocols, both clients."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from itertools import count, islice
from pathlib import Path

import pytest

from swinserve import (
    AsyncClient,
    Cancelled,
    Classification,
    Client,
    ImageResult,
    NotFound,
    Unavailable,
    UndecodableImage,
)
from swinserve.bulk import BYTES_PER_CALL, Batch, Window, batches
from swinserve.image_files import ImageFile
from swinserve.testing import AsyncInMemoryTransport, InMemoryTransport
from swinserve.transport import Call, Question

from .conftest import CLIENTS, Awaited, Service

MEMORY = {Client: InMemoryTransport, Awaited: AsyncInMemoryTransport}


def test_every_image_has_its_answer_in_order(client: Client, service: Service, tmp_path: Path) -> None:
    file = tmp_path / "three.png"
    file.write_bytes(b"from a file")
    images = [b"a", file, str(file), *[b"%d" % i for i in range(40)]]
    found = list(client.classify_stream(iter(images), model="swin", top_k=1))
    assert [each.index for each in found] == list(range(43))
    assert [each.image for each in found] == images
    assert {each.result.predictions[0].label for each in found} == {"three"}
    assert {(each.answer.model, len(each.answer.results)) for each in found} == {("swin", 1)}
    assert sorted(len(asked.images) for asked in service.seen) == [3, 8, 8, 8, 8, 8]
    assert {asked.top_k for asked in service.seen} == {1}


def test_what_fails_is_told_and_ends_nothing(client: Client) -> None:
    images = [b"a", b"bad UNDECODABLE", "no such file", b"d"]
    good, bad, missing, last = client.classify_stream(images)
    assert (good.result.error, last.result.error) == (None, None)
    assert isinstance(bad.result.error, UndecodableImage)
    assert missing.result.error is not None
    assert missing.result.error.reason == "UNREADABLE_FILE"


def test_a_call_that_fails_is_each_images_error(client: Client) -> None:
    found = list(client.classify_stream([b"a", b"b"], model="fail MODEL_NOT_FOUND"))
    assert [type(each.result.error) for each in found] == [NotFound, NotFound]


def test_nothing_in_is_nothing_out(client: Client) -> None:
    assert list(client.classify_stream([])) == []
    assert [each.result.error.reason for each in client.classify_stream(["no such file"])] == ["UNREADABLE_FILE"]


def test_no_image_in_flight_is_a_value_error(client: Client) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        list(client.classify_stream([b"a"], in_flight=0))


@pytest.mark.parametrize("in_flight", [1, 4, 32])
def test_no_more_is_read_than_may_be_in_flight(client: Client, in_flight: int) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        for number in count(1):
            read = number
            yield b"a"

    stream = client.classify_stream(endless(), in_flight=in_flight)
    for taken, _ in enumerate(islice(stream, 3 * in_flight)):
        assert read - taken <= in_flight
    stream.close()


@pytest.fixture(params=CLIENTS)
def gated(request: pytest.FixtureRequest) -> Iterator[tuple[Client, dict[bytes, threading.Event]]]:
    """A client whose service answers an image only when its event is set."""
    gates = {b"%d" % i: threading.Event() for i in range(4)}

    def answer(image: bytes) -> ImageResult:
        assert gates[image].wait(30)
        return ImageResult()

    class Slow(AsyncInMemoryTransport):
        async def classify(self, *what: object) -> object:
            return await asyncio.to_thread(self._memory.classify, *what)

    kind = CLIENTS[request.param]
    with kind(transport=InMemoryTransport(answer) if kind is Client else Slow(answer)) as client:
        yield client, gates
        for gate in gates.values():
            gate.set()


def test_as_they_are_ready_if_order_does_not_matter(gated: tuple[Client, dict[bytes, threading.Event]]) -> None:
    client, gates = gated
    stream = client.classify_stream(gates, ordered=False, in_flight=4)
    order = [2, 0, 3, 1]
    for i in order:
        gates[b"%d" % i].set()
        assert next(stream).index == i
    assert list(stream) == []


def test_in_order_though_the_last_is_ready_first(gated: tuple[Client, dict[bytes, threading.Event]]) -> None:
    client, gates = gated
    for image in (b"3", b"2", b"1", b"0"):
        gates[image].set()
    assert [each.index for each in client.classify_stream(gates, in_flight=4)] == [0, 1, 2, 3]


def test_leaving_early_does_not_wait_for_what_is_under_way() -> None:
    begun, released, left = threading.Event(), threading.Event(), threading.Event()

    def answer(image: bytes) -> ImageResult:
        if image == b"long":
            begun.set()
            released.wait(30)
            left.set()
        else:
            assert begun.wait(30)
        return ImageResult()

    with Client(transport=InMemoryTransport(answer)) as client:
        for _ in client.classify_stream([b"short", b"long"], in_flight=2):
            break
    assert not left.is_set()
    released.set()
    assert left.wait(30)


async def test_an_async_iterable_is_read_as_well_and_answers_do_not_wait_for_it(service: Service) -> None:
    more = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        await more.wait()
        yield b"second"

    async with AsyncClient(service.url) as client:
        found = []
        async for each in client.classify_stream(slow(), in_flight=4):
            found.append(each.image)
            more.set()  # only the first answer lets the second image come
    assert found == [b"first", b"second"]


async def test_a_cancelled_stream_cancels_its_calls() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    class Hanging(AsyncInMemoryTransport):
        async def classify(self, *what: object) -> object:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async def use() -> None:
        async with AsyncClient(transport=Hanging(lambda image: ImageResult())) as client:
            async for _ in client.classify_stream([b"a"]):
                pass

    task = asyncio.create_task(use())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 10)


@pytest.mark.parametrize("in_flight", [4, 32])
def test_what_came_before_the_input_broke_is_answered_before_that_is_told(client: Client, in_flight: int) -> None:
    def broken() -> Iterator[bytes]:
        yield from (b"a", b"b", b"c", b"d", b"e")
        raise ConnectionError("the camera is gone")

    found = []
    with pytest.raises(ConnectionError, match="the camera"):
        found.extend(each.image for each in client.classify_stream(broken(), in_flight=in_flight))
    assert found == [b"a", b"b", b"c", b"d", b"e"]


def test_one_image_is_no_stream(client: Client) -> None:
    with pytest.raises(TypeError, match="not one str"):
        list(client.classify_stream("photo.jpg"))


def test_calls_of_a_stream_that_was_left_are_not_made_again() -> None:
    second, released, given_up = threading.Event(), threading.Event(), threading.Event()

    def answer(image: bytes) -> ImageResult:
        if image == b"short":
            assert second.wait(30)
            return ImageResult()
        second.set()
        assert released.wait(30)
        raise Unavailable("draining")

    with Client(transport=InMemoryTransport(answer)) as client:
        ask = client._tried

        def tried(*what: object) -> object:
            try:
                return ask(*what)
            except Cancelled:
                given_up.set()
                raise

        client._tried = tried
        stream = client.classify_stream([b"short", b"long"], in_flight=2)
        assert next(stream).image == b"short"
        stream.close()
        released.set()
        assert given_up.wait(30)


async def test_leaving_early_gives_up_what_is_read_and_what_is_asked() -> None:
    ended, waiting = [], asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"first"
        yield b"second"
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("reading")

    class Hanging(AsyncInMemoryTransport):
        async def classify(self, question: Question, call: Call) -> Classification:
            if question.images == (b"first",):
                await waiting.wait()
                return await super().classify(question, call)
            try:
                return await asyncio.Event().wait()
            finally:
                ended.append("asking")

    async with AsyncClient(transport=Hanging(lambda image: ImageResult())) as client:
        async with aclosing(client.classify_stream(source(), in_flight=3)) as stream:
            assert (await anext(stream)).image == b"first"
        assert sorted(ended) == ["asking", "reading"]


async def test_what_reads_the_input_is_closed_and_not_left_to_the_garbage_collector() -> None:
    left: list[str] = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(finalizer=lambda generator: left.append(generator.__name__))
    try:
        async with (
            AsyncClient(transport=AsyncInMemoryTransport(lambda image: ImageResult())) as client,
            aclosing(client.classify_stream([b"a", b"b", b"c"], in_flight=1)) as stream,
        ):
            await anext(stream)
    finally:
        sys.set_asyncgen_hooks(*before)
    assert "_batches" not in left


@pytest.mark.parametrize(("in_flight", "calls", "images"), [(1, 1, 1), (4, 4, 1), (7, 7, 1), (32, 4, 8), (640, 40, 16)])
def test_a_window_is_a_few_calls_of_some_images(in_flight: int, calls: int, images: int) -> None:
    assert Window.of(in_flight) == Window(calls, images)


def sizes(lengths: list[int], most: int = 16) -> list[list[int]]:
    files = (ImageFile(str(i), bytes(length)) for i, length in enumerate(lengths))
    return [[len(file.content) for file in batch.files] for batch in batches(files, most)]


def test_a_call_stays_under_eight_megabytes_and_an_image_over_that_goes_alone() -> None:
    assert sizes([1] * 33) == [[1] * 16, [1] * 16, [1]]
    assert sizes([5_000_000, 3_000_000, 1, 2]) == [[5_000_000, 3_000_000], [1, 2]]
    assert sizes([1, BYTES_PER_CALL + 1, 2]) == [[1], [BYTES_PER_CALL + 1], [2]]
    assert sizes([]) == []


def test_a_full_batch_is_handed_out_before_more_is_read() -> None:
    def two() -> Iterator[ImageFile[int]]:
        yield ImageFile(0)
        yield ImageFile(1)
        raise AssertionError("read too far")

    first: Callable[[], Batch[int]] = lambda: next(batches(two(), 2))  # noqa: E731
    assert len(first().files) == 2
