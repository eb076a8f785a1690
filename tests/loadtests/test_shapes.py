from __future__ import annotations

import itertools

import pytest
from loadtests.shapes import SHAPES, STEPS, breakpoint_, soak, spike, steps

PARTS = [part / 1000 for part in range(1000)]


def levels(found: list[int]) -> list[tuple[int, int]]:
    return [(users, len(list(stay))) for users, stay in itertools.groupby(found)]


def test_steps_are_equally_high_and_equally_long() -> None:
    assert levels([steps(part, 64) for part in PARTS]) == [(8 * step, 125) for step in range(1, STEPS + 1)]


def test_a_spike_is_the_middle_fifth_with_calm_before_and_after_it() -> None:
    assert levels([spike(part, 64) for part in PARTS]) == [(8, 400), (64, 200), (8, 400)]


def test_a_soak_comes_up_and_then_holds() -> None:
    found = [soak(part, 60) for part in PARTS]
    assert found == sorted(found)
    assert levels(found)[-1] == (60, 950)


def test_a_breakpoint_run_asks_for_ever_more() -> None:
    found = [breakpoint_(part, 60) for part in PARTS]
    assert (found[0], found[-1]) == (1, 60)
    assert found == sorted(found)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [1, 3, 100])
def test_no_shape_ever_has_no_user_or_more_than_the_most(shape: str, most: int) -> None:
    found = [SHAPES[shape](part, most) for part in PARTS]
    assert min(found) >= 1
    assert max(found) == most
