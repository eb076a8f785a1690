from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOADTESTS = Path(__file__).parents[2] / "loadtests"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, which imports its neighbours as it does when it is run."""
    monkeypatch.setattr(sys, "path", [str(LOADTESTS), *sys.path])
    return importlib.import_module("soak")


def samples(soak: Any, memory: Callable[[float], float], *, wrong: int = 0) -> list[Any]:
    return [
        soak.Sample(float(minute), "worker", memory(minute), 40, 9, 0.0, 0.01, 1000, 50, 0, wrong)
        for minute in range(30)
    ]


def test_growth_before_it_settled_is_no_leak(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 500 + 50 * min(minute, 5)))
    assert wrong == []


def test_growth_that_goes_on_is_named(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 500 + 2 * minute))
    assert wrong == ["worker: memory is not within 3% but 9.4%"]


def test_a_spike_does_not_hide_in_a_mean(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 600 if minute == 17 else 500))
    assert wrong == ["worker: memory is not within 3% but 20.0%"]


def test_refusals_are_told_apart_and_are_no_success(soak: Any) -> None:
    refused = [dataclasses.replace(each, shed=2) for each in samples(soak, lambda minute: 500)]
    assert soak.verdict(refused)[1] == ["60 calls were refused, at 70 % of capacity"]


@pytest.mark.parametrize("what", ["descriptors", "threads"])
def test_what_is_taken_and_never_given_back_is_named(soak: Any, what: str) -> None:
    leaking = [dataclasses.replace(each, **{what: int(each.minute)}) for each in samples(soak, lambda minute: 500)]
    assert soak.verdict(leaking)[1] == [f"worker: {what} grew"]
    pool = [dataclasses.replace(each, **{what: int(each.minute) % 3}) for each in samples(soak, lambda minute: 500)]
    assert soak.verdict(pool)[1] == []


def test_a_wrong_answer_is_told(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 500, wrong=1))
    assert wrong == ["30 calls did not end as they should"]
