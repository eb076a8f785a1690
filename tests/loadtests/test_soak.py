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
    assert wrong == ["worker: memory is not within 3% but 7.8%"]


def test_a_moment_of_more_is_no_growth(soak: Any) -> None:
    assert soak.verdict(samples(soak, lambda minute: 600 if minute == 17 else 500))[1] == []


@pytest.mark.parametrize("what", ["descriptors", "threads"])
def test_what_is_taken_and_never_given_back_is_named(soak: Any, what: str) -> None:
    leaking = [dataclasses.replace(each, **{what: int(each.minute)}) for each in samples(soak, lambda minute: 500)]
    assert soak.verdict(leaking)[1] == [f"worker: {what} grew"]
    pool = [dataclasses.replace(each, **{what: int(each.minute) % 3}) for each in samples(soak, lambda minute: 500)]
    assert soak.verdict(pool)[1] == []


def test_a_wrong_answer_is_told(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 500, wrong=1))
    assert wrong == ["30 calls did not end as they should"]
