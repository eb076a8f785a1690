from __future__ import annotations

import asyncio
import math
import statistics
import time

import pytest
from loadtests.open_loop import open_loop, percentile


async def test_calls_come_at_their_rate_whether_or_not_others_are_answered() -> None:
    async def call() -> str:
        await asyncio.sleep(0.5)
        return "ok"

    ended = await open_loop(call, rate=200, seconds=1)
    assert 150 < len(ended) < 250
    sent = [each.due + each.waited for each in ended]
    assert max(sent) - min(sent) > 0.8
    assert all(each.seconds >= 0.5 for each in ended)
    assert statistics.median(each.seconds for each in ended) < 1


async def test_time_is_counted_from_when_a_call_was_due() -> None:
    """A load generator that is late must not hide it."""

    async def call() -> str:
        time.sleep(0.02)  # noqa: ASYNC251 - blocks the loop on purpose
        return "ok"

    ended = await open_loop(call, rate=200, seconds=0.5)
    assert max(each.seconds for each in ended) > 0.5
    assert max(each.waited for each in ended) > 0.5


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentiles_are_values_that_were_seen(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected
    assert math.isnan(percentile([], share))
