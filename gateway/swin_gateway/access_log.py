"""Calls that ended -> lines in the log, at most so many a second of each outcome, the others counted.

A line a call would cost a loaded service more than it tells; an overload must not be a flood of lines besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger("calls")


@dataclass
class Budget:
    """Of one outcome."""

    second: int = -1
    used: int = 0
    left_out: int = 0
    """Since the last line that was written."""


class AccessLog:
    def __init__(self, lines_per_second: float) -> None:
        self._most = lines_per_second
        self._budgets: dict[str, Budget] = {}

    def write(self, outcome: str, level: int, facts: Callable[[], dict[str, object]]) -> None:
        """One line, unless this outcome has had its lines in this second; `facts` is called for what is written."""
        budget = self._budgets.setdefault(outcome, Budget())
        now = int(time.monotonic())
        if now != budget.second:
            budget.second, budget.used = now, 0
        if budget.used >= self._most:
            budget.left_out += 1
            return
        left_out = {"left_out": budget.left_out} if budget.left_out else {}
        budget.used, budget.left_out = budget.used + 1, 0
        log.log(level, "call", outcome=outcome, **facts(), **left_out)
