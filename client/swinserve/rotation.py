"""Several addresses of one service -> whose turn it is."""

import time
from collections.abc import Callable, Sequence
from itertools import count

REST_SECONDS = 5.0
"""For which an address that could not be reached is passed over."""


class Rotation:
    """Round robin over those that can be reached; threads may share it."""

    def __init__(self, addresses: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._addresses = addresses
        self._clock = clock
        self._turns = count()
        self._resting: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def next(self) -> str:
        """The next one; where all rest, the next all the same."""
        now, turn = self._clock(), next(self._turns)
        order = [self._addresses[(turn + i) % len(self)] for i in range(len(self))]
        return next((address for address in order if self._resting.get(address, 0.0) <= now), order[0])

    def rest(self, address: str) -> None:
        """It could not be reached."""
        self._resting[address] = self._clock() + REST_SECONDS
