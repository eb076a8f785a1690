"""What is tried again, when, and within which deadline."""

from collections.abc import Callable, Iterator

import pytest

from swinserve import (
    Client,
    DeadlineExceeded,
    ImageResult,
    InternalError,
    InvalidRequest,
    Overloaded,
    SwinserveError,
    Unavailable,
)
from swinserve.retry import Attempts
from swinserve.testing import AsyncInMemoryTransport, InMemoryTransport

from .conftest import CLIENTS, Awaited, Service
from .contract import REASONS

MEMORY = {Client: InMemoryTransport, Awaited: AsyncInMemoryTransport}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock: Clock) -> Callable[..., Attempts]:
    return lambda timeout=10.0, retries=3, chance=1.0: Attempts(timeout, retries, clock=clock, chance=lambda: chance)


def test_pauses_double_up_to_the_longest(attempts: Callable[..., Attempts]) -> None:
    mine = attempts(timeout=100, retries=7)
    assert [mine.pause_after(Unavailable("x")) for _ in range(7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_chance_spreads_the_pauses(attempts: Callable[..., Attempts]) -> None:
    assert attempts(chance=0.25).pause_after(Overloaded("x")) == pytest.approx(0.025)


def test_the_service_is_not_asked_before_it_said(attempts: Callable[..., Attempts]) -> None:
    assert attempts(chance=0.0).pause_after(Overloaded("x", retry_after=2.0)) == 2.0
    assert attempts(chance=1.0).pause_after(Unavailable("x", retry_after=2.0)) == pytest.approx(2.1)


def test_a_pause_that_would_outlast_the_deadline_is_not_made(attempts: Callable[..., Attempts]) -> None:
    with pytest.raises(Overloaded):
        attempts(timeout=2.0, chance=0.0).pause_after(Overloaded("x", retry_after=2.0))


def test_each_try_has_what_is_left_of_the_one_deadline(attempts: Callable[..., Attempts], clock: Clock) -> None:
    mine = attempts(timeout=10.0)
    assert mine.remaining == 10.0
    clock.now += 7.0
    assert mine.remaining == pytest.approx(3.0)
    clock.now += 7.0
    assert 0 < mine.remaining < 0.01


@pytest.mark.parametrize("reason", REASONS)
def test_only_what_another_moment_may_mend_is_tried_again(attempts: Callable[..., Attempts], reason: str) -> None:
    from swinserve.errors import error_class

    kind = error_class(reason=reason)
    if kind in (Unavailable, Overloaded):
        assert attempts().pause_after(kind("x")) > 0
    else:
        with pytest.raises(kind):
            attempts().pause_after(kind("x"))


@pytest.fixture(params=CLIENTS)
def failing(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Makes a client whose service first answers with these errors."""
    clients = []

    def make(*errors: SwinserveError, **options: object) -> Client:
        left = list(errors)

        def answer(image: bytes) -> ImageResult:
            if left:
                raise left.pop(0)
            return ImageResult()

        kind = CLIENTS[request.param]
        transport = MEMORY[kind](answer)
        clients.append(kind(transport=transport, **options))
        clients[-1].asked = transport.asked
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def test_a_call_that_finds_no_room_is_made_again(failing: Callable[..., Client]) -> None:
    client = failing(Overloaded("full"), Unavailable("draining"))
    assert client.classify(b"a").results == (ImageResult(),)
    assert len(client.asked) == 3


def test_the_last_failure_is_the_one_that_is_told(failing: Callable[..., Client]) -> None:
    client = failing(Overloaded("first"), Overloaded("second"), retries=1)
    with pytest.raises(Overloaded, match="second"):
        client.classify(b"a")


@pytest.mark.parametrize("kind", [InternalError, DeadlineExceeded, InvalidRequest])
def test_a_call_that_would_fail_again_is_not(failing: Callable[..., Client], kind: type[SwinserveError]) -> None:
    client = failing(kind("x"))
    with pytest.raises(kind):
        client.classify(b"a")
    assert len(client.asked) == 1


def test_retries_can_be_none(failing: Callable[..., Client]) -> None:
    client = failing(Unavailable("x"), retries=0)
    with pytest.raises(Unavailable):
        client.classify(b"a")
    assert len(client.asked) == 1


def test_over_either_protocol_the_services_own_wait_is_kept_or_the_call_given_up(service: Service) -> None:
    with Client(service.url, timeout=1.9, retries=1) as client:
        with pytest.raises(Overloaded):
            client.classify(b"a", model="fail OVERLOADED")  # says 2 s
        assert len(service.seen) == 1
        with pytest.raises(Overloaded):
            client.classify(b"a", model="fail DEADLINE_UNREACHABLE", request_id="mine")  # says 0.5 s
    one, other = [asked for asked in service.seen if asked.request_id == "mine"]
    assert other.timeout is not None
    assert one.timeout is not None
    assert other.timeout <= one.timeout - 0.45  # gRPC rounds it to hundredths
