from __future__ import annotations

import asyncio
import time

import pytest

from swin_gateway.errors import RateLimited, TooLarge
from swin_gateway.quota import Quota, Quotas
from swin_gateway.tokens import Token

from .assembly import until


def quota(rate: str | None = None, concurrency: int | None = None, quotas: Quotas | None = None) -> Quota:
    token = Token(name="job", sha256="ab" * 32, scopes=frozenset({"classify"}), rate=rate, concurrency=concurrency)
    return (quotas or Quotas()).of(token)


def ask(limited: Quota, images: int = 1) -> None:
    with limited.holding(images):
        pass


def test_without_limits_everything_passes() -> None:
    ask(Quota(), 10**9)


def test_a_rate_counts_images_and_says_when_the_next_may_come() -> None:
    limited = quota("5/hour")
    ask(limited, 3)
    with pytest.raises(RateLimited, match="5 per 1 hour") as refusal:
        ask(limited, 3)
    assert 3500 < (refusal.value.retry_after or 0) <= 3600
    ask(limited, 2)  # what was refused has used up nothing
    with pytest.raises(RateLimited):
        ask(limited)


def test_the_rate_is_free_again_after_its_period() -> None:
    limited = quota("2/second")
    ask(limited, 2)
    with pytest.raises(RateLimited) as refusal:
        ask(limited)
    time.sleep((refusal.value.retry_after or 0) + 0.05)
    ask(limited)


def test_images_that_are_here_count_until_they_are_answered() -> None:
    limited = quota(concurrency=4)
    with limited.holding(3):
        with pytest.raises(RateLimited, match="3 of its 4"):
            ask(limited, 2)
        ask(limited, 1)
    ask(limited, 4)


def test_a_dispatched_image_counts_until_its_job_is_done_though_its_call_has_ended() -> None:
    limited = quota(concurrency=2)
    with limited.holding(2) as held:
        job = held.dispatched()
        job.__enter__()
    ask(limited, 1)
    with pytest.raises(RateLimited, match="1 of its 2"):
        ask(limited, 2)
    job.__exit__(None, None, None)
    ask(limited, 2)


def test_an_image_whose_job_begins_just_after_its_call_has_ended_counts_too() -> None:
    limited = quota(concurrency=1)
    with limited.holding(1) as held:
        pass
    with held.dispatched(), pytest.raises(RateLimited):
        ask(limited)
    ask(limited)


@pytest.mark.parametrize("limits", [{"rate": "5/second"}, {"concurrency": 5}])
def test_a_call_that_could_never_pass_is_too_large(limits: dict[str, str | int]) -> None:
    with pytest.raises(TooLarge, match="5"):
        ask(quota(**limits), 6)  # type: ignore[arg-type]


def test_what_was_used_up_outlasts_new_limits() -> None:
    quotas = Quotas()
    limited = quota("2/hour", quotas=quotas)
    ask(limited, 2)
    assert quota("2/hour", quotas=quotas) is limited
    with pytest.raises(RateLimited):
        ask(limited)
    quota(None, quotas=quotas)
    ask(limited, 100)


async def test_an_image_of_a_stream_waits_for_its_turn() -> None:
    limited = quota(concurrency=1)
    order: list[str] = []

    async def one(name: str) -> None:
        async with limited.holding_one(time.monotonic() + 30):
            order.append(name)
            await asyncio.sleep(0.01)
            order.append(name)

    await asyncio.gather(*(one(name) for name in "abc"))
    assert sorted(order) == ["a", "a", "b", "b", "c", "c"]
    assert order[::2] == order[1::2]  # one at a time


async def test_it_waits_no_longer_than_its_deadline() -> None:
    limited = quota("1/hour")
    ask(limited)
    with pytest.raises(RateLimited):
        async with limited.holding_one(time.monotonic() + 0.05):
            raise AssertionError("it was let through")


async def test_one_that_gives_up_waiting_leaves_nothing_behind() -> None:
    limited = quota(concurrency=1)
    with limited.holding(1):
        waiting = asyncio.create_task(limited._take_one(time.monotonic() + 30))
        await asyncio.sleep(0)
        waiting.cancel()
        await until(waiting.done)
    ask(limited)
