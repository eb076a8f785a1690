"""Calls that ended -> lines in the log, at most so many a second of each outcome, the others counted.

A line a call would cost a loaded service more than it tells; an overload must not be a flood of lines besides.
"""

from __future__ import annotations

import asyncio
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


class AccessLog:
    def __init__(self, lines_per_second: int) -> None:
        """0: none"""
        self._most = lines_per_second
        self._budgets: dict[str, Budget] = {}

    def write(self, outcome: str, level: int, facts: Callable[[], dict[str, object]]) -> None:
        """One line, unless this outcome has had its lines in this second; `facts` is called for what is written."""
        if not self._most:
            return
        budget = self._budgets.setdefault(outcome, Budget())
        now = int(time.monotonic())
        if now != budget.second:
            budget.second, budget.used = now, 0
        if budget.used < self._most:
            budget.used += 1
            log.log(level, "call", outcome=outcome, **facts())
            return
        if not budget.left_out:
            asyncio.get_running_loop().call_later(1.0, self._tell, outcome, budget)
        budget.left_out += 1

    def _tell(self, outcome: str, budget: Budget) -> None:
        log.info("calls without a line", outcome=outcome, left_out=budget.left_out)
        budget.left_out = 0
