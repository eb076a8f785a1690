"""When the calls of an open loop are due: Poisson arrivals, whether or not earlier calls are answered."""

from __future__ import annotations

import random


class Arrivals:
    """One caller's; those of several callers together are Poisson arrivals again. Times are in seconds."""

    def __init__(self, rate: float, start: float, dice: random.Random | None = None) -> None:
        """`rate` a second on average, from `start` on."""
        self._rate = rate
        self._dice = dice or random.Random()
        self.due = start
        """Of the call that comes next."""
        self.next()

    def next(self) -> None:
        # From when the last one was due and not from now: a late caller catches up instead of offering less.
        self.due += self._dice.expovariate(self._rate)

    def wait(self, now: float) -> float:
        """Seconds until the next call is due; 0 when it is late."""
        return max(0.0, self.due - now)

    def missed(self, now: float) -> int:
        """How many calls were due until `now` and can no longer be sent; they are passed over."""
        count = 0
        while self.due <= now:
            self.next()
            count += 1
        return count
