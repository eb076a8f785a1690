"""swinserve.testing: a service in memory behind the real clients."""

import inspect
from dataclasses import replace

import pytest

import swinserve.testing
from swinserve import AsyncClient, Client, ImageResult, NotFound, Prediction, TooLarge, Unavailable
from swinserve.testing import MODEL, AsyncInMemoryTransport, InMemoryTransport

CAT = ImageResult((Prediction("cat", 281, 0.9),))


def picky(image: bytes) -> ImageResult:
    if image == b"large":
        raise TooLarge("too large")
    if image == b"gone":
        raise Unavailable("gone")
    return CAT


def test_the_example_of_its_documentation_runs() -> None:
    exec((inspect.getdoc(swinserve.testing) or "").partition("\n\n")[2], {})


def test_it_answers_as_the_test_says_and_keeps_what_was_asked() -> None:
    transport = InMemoryTransport(picky)
    with Client(transport=transport) as client:
        answer = client.classify(b"a", top_k=1, request_id="mine")
    assert (answer.model, answer.version, answer.results, answer.request_id) == ("in_memory", "1.0", (CAT,), "mine")
    (question,) = transport.asked
    assert (question.images, question.top_k) == ((b"a",), 1)


def test_errors_go_the_ways_of_a_real_service() -> None:
    with Client(transport=InMemoryTransport(picky), retries=0) as client:
        with pytest.raises(TooLarge):
            client.classify(b"large")
        assert [type(result.error) for result in client.classify_many([b"a", b"large"]).results] == [
            type(None),
            TooLarge,
        ]
        with pytest.raises(Unavailable):
            client.classify_many([b"a", b"gone"])
        with pytest.raises(NotFound):
            client.classify(b"a", model="dogs")


async def test_the_same_for_the_async_client() -> None:
    transport = AsyncInMemoryTransport(picky, [replace(MODEL, name="cats")])
    async with AsyncClient(transport=transport) as client:
        assert (await client.classify(b"a")).model == "cats"
        assert (await client.model("cats")).name == "cats"
        assert len(await client.models()) == 1
    assert len(transport.asked) == 1
