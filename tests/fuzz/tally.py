"""Counts what was tried and what came of it, shows how far a long run is, and reports at the end."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("FUZZ_SECONDS", "3"))
"""Of each fuzzer; `make fuzz` makes it minutes."""
_PROGRESS_SECONDS = 10.0
_EXAMPLES = 50
"""Between two looks at the clock."""


class Tally:
    """Of one protocol or parser."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self._began = self._shown = time.monotonic()

    def add(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        now = time.monotonic()
        if now - self._shown > _PROGRESS_SECONDS:
            self._shown = now
            print(f"\r{self} ({now - self._began:.0f} of {SECONDS:.0f} s)", end="", flush=True)

    def __str__(self) -> str:
        counts = ", ".join(f"{outcome} {count}" for outcome, count in self.outcomes.most_common())
        return f"{self.name}: {self.outcomes.total()} inputs: {counts}"

    def report(self) -> None:
        print(f"\n{self} in {time.monotonic() - self._began:.1f} s")


def for_seconds(seconds: float, inputs: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Holds `check` against random inputs until the time is over; what fails is made as small as it goes."""
    ends = time.monotonic() + seconds

    @settings(
        max_examples=_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    @given(inputs)
    def hold(value: Any) -> None:
        check(value)

    while time.monotonic() < ends:
        hold()
