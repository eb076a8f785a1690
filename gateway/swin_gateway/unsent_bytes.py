"""How much of its answers a client has not taken, looked at from time to time -> whether it takes them too slowly."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios

LEAST_BYTES = 2**16
"""To be taken, or all there is, in each time of `stall_seconds`: who takes a byte now and then holds all the rest."""


class UnsentBytes:
    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self.size = 0
        self.last = 0.0
        """When there was any."""
        self._taken, self._since = 0, 0.0

    def stall(self, transport: asyncio.Transport, now: float) -> bool:
        return self._stall(unsent(transport), now)

    def _stall(self, size: int, now: float) -> bool:
        before, self.size = self.size, size
        if size:
            self.last = now
        self._taken += max(0, before - size)
        if not size or not before or self._taken >= LEAST_BYTES:
            self._taken, self._since = 0, now
        return now - self._since > self._stall_seconds


def unsent(transport: asyncio.Transport) -> int:
    """What it holds and, while that is anything, what the kernel holds of the connection."""
    held = transport.get_write_buffer_size()
    if held:
        # The kernel takes more only when a third of its megabytes is free again: a slow client would seem to stand.
        with contextlib.suppress(OSError):  # not every kernel says
            (queued,) = struct.unpack("i", fcntl.ioctl(transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4)))
            held += queued
    return held
