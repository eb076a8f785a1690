"""A failed try -> the pause before the next one, all within the call's one deadline; or the failure itself."""

import random
import time
from collections.abc import Callable

from .errors import Overloaded, SwinserveError, Unavailable

RETRIED = (Unavailable, Overloaded)
"""Classifying changes nothing, so doing it twice is safe; these two say that another moment may be better. The others
would fail again, or (a passed deadline, a bug) make things worse."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds; doubled from try to try."""

MOMENT = 1e-3
"""The least that a try gets: sleeping may take longer than was asked for."""


class Attempts:
    """The tries of one call: `timeout` seconds and `retries` + 1 tries in all. Waiting is left to its user."""

    def __init__(
        self,
        timeout: float,
        retries: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._deadline = clock() + timeout
        self._left = retries
        self._longest = FIRST_PAUSE
        self._clock, self._chance = clock, chance

    @property
    def remaining(self) -> float:
        """Seconds that the next try has."""
        return max(self._deadline - self._clock(), MOMENT)

    def pause_after(self, error: SwinserveError) -> float:
        """Seconds to wait before the next try. Raises the error where there is to be none.

        At least what the service said. Chance spreads those that it turned away together.
        """
        pause = (error.retry_after or 0.0) + self._chance() * self._longest
        if not isinstance(error, RETRIED) or self._left == 0 or pause >= self.remaining:
            raise error
        self._left -= 1
        self._longest = min(2 * self._longest, LONGEST_PAUSE)
        return pause
