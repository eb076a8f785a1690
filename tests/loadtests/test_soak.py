from __future__ import annotations

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
        soak.Sample(float(minute), "worker", memory(minute), 40, 9, 0.0, 0.01, 1000, 50, wrong) for minute in range(30)
    ]


def test_growth_before_it_settled_is_no_leak(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 500 + 50 * min(minute, 5)))
    assert wrong == []


def test_growth_that_goes_on_is_named(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 500 + 2 * minute))
    assert wrong == ["worker grew by 6.6%"]


def test_a_wrong_answer_is_told(soak: Any) -> None:
    _, wrong = soak.verdict(samples(soak, lambda minute: 500, wrong=1))
    assert wrong == ["30 calls did not end as they should"]
