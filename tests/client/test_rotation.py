"""Several addresses of one service take turns, and what cannot be reached loses its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from swinserve import Client, Unavailable
from swinserve.rotation import REST_SECONDS, Rotation

from .conftest import CLIENTS, FAKES
from .contract import Asked


def test_they_take_turns() -> None:
    rotation = Rotation(["a", "b", "c"])
    assert [rotation.next() for _ in range(4)] == ["a", "b", "c", "a"]


def test_one_that_could_not_be_reached_rests_for_a_while() -> None:
    now = [0.0]
    rotation = Rotation(["a", "b"], clock=lambda: now[0])
    rotation.rest("a")
    assert [rotation.next() for _ in range(3)] == ["b", "b", "b"]
    now[0] = REST_SECONDS
    assert "a" in [rotation.next() for _ in range(2)]


def test_where_all_rest_they_are_tried_all_the_same() -> None:
    rotation = Rotation(["a", "b"], clock=lambda: 0.0)
    rotation.rest("a")
    rotation.rest("b")
    assert {rotation.next() for _ in range(2)} == {"a", "b"}


@pytest.fixture(params=FAKES)
def two(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[list[Asked]]]]:
    """A URL with two servers, and what each is asked."""
    seen: list[list[Asked]] = [[], []]
    with ExitStack() as stack:
        urls = [stack.enter_context(FAKES[request.param].serve(each)) for each in seen]
        yield f"{urls[0]},{urls[1].partition('://')[2]}", seen


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest) -> Callable[..., Client]:
    return CLIENTS[request.param]


def test_calls_are_spread_over_all(two: tuple[str, list[list[Asked]]], connect: Callable[..., Client]) -> None:
    url, seen = two
    with connect(url) as client:
        # gRPC shares among those that are connected, and connects to them in its own time.
        for _ in range(2000):
            client.models()
            if all(seen):
                break
    assert all(seen)


def test_one_that_is_gone_costs_no_call(two: tuple[str, list[list[Asked]]], connect: Callable[..., Client]) -> None:
    url, seen = two
    scheme, _, addresses = url.partition("://")
    with connect(f"{scheme}://127.0.0.1:1,{addresses}") as client:
        for _ in range(6):
            client.models()
    assert sum(map(len, seen)) == 6


def test_all_gone_is_unavailable(connect: Callable[..., Client]) -> None:
    for url in ("grpc://127.0.0.1:1,127.0.0.1:2", "http://127.0.0.1:1,127.0.0.1:2"):
        with connect(url, retries=1) as client, pytest.raises(Unavailable, match="cannot reach"):
            client.models()
