from __future__ import annotations

import random

import pytest
from loadtests.arrivals import Arrivals


def dues(rate: float, count: int) -> list[float]:
    arrivals = Arrivals(rate, 100.0, random.Random(0))
    found = []
    for _ in range(count):
        found.append(arrivals.due)
        arrivals.next()
    return found


def test_arrivals_come_at_their_rate_and_as_irregularly_as_poisson_says() -> None:
    found = dues(20.0, 20_000)
    gaps = [after - before for before, after in zip([100.0, *found], found, strict=False)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 20, rel=0.03)
    # Of an exponential distribution the deviation is the mean.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.03)


def test_a_late_caller_waits_for_nothing_and_keeps_the_schedule() -> None:
    arrivals, schedule = Arrivals(20.0, 100.0, random.Random(0)), dues(20.0, 3)
    assert arrivals.wait(100.0) == pytest.approx(schedule[0] - 100)
    arrivals.next()
    assert arrivals.wait(500.0) == 0
    assert arrivals.due == schedule[1]
    arrivals.next()
    assert arrivals.due == schedule[2]


def test_what_was_due_and_never_sent_is_counted() -> None:
    arrivals = Arrivals(20.0, 100.0, random.Random(0))
    expected = sum(due <= 110 for due in dues(20.0, 1000))
    assert arrivals.missed(110.0) == expected
    assert arrivals.missed(110.0) == 0
    assert arrivals.wait(110.0) > 0
