"""How much of its answers a client has not taken, looked at from time to time -> whether it takes them too slowly."""

from __future__ import annotations

LEAST_BYTES = 2**16
"""To be taken, or all there is, in each time of `stall_seconds`: who takes a byte now and then holds all the rest."""


class UnsentBytes:
    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self.size = 0
        self.last = 0.0
        """When there was any."""
        self._taken, self._since = 0, 0.0

    def stall(self, size: int, now: float) -> bool:
        """size: of what is unsent now"""
        before, self.size = self.size, size
        if size:
            self.last = now
        self._taken += max(0, before - size)
        if not size or not before or self._taken >= LEAST_BYTES:
            self._taken, self._since = 0, now
        return now - self._since > self._stall_seconds
