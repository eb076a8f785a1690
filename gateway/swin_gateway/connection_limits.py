"""Settings -> what one REST connection may take of bytes and time, and how many there may be."""

from __future__ import annotations

from dataclasses import dataclass

from swin_gateway.settings import ServeSettings

LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    connections: int
    header_bytes: int
    """Of a request line with its headers, and of those together that wait for answers to earlier ones."""
    header_seconds: float
    idle_seconds: float
    stall_seconds: float

    @classmethod
    def of(cls, settings: ServeSettings) -> ConnectionLimits:
        return cls(
            connections=settings.max_connections,
            header_bytes=settings.max_header_bytes,
            header_seconds=settings.header_timeout,
            idle_seconds=settings.idle_timeout,
            stall_seconds=settings.stall_timeout,
        )

    @property
    def look_seconds(self) -> float:
        """How often a connection is looked at; so much later a limit may take effect."""
        return min(LOOK_SECONDS, self.header_seconds / 2, self.idle_seconds / 2, self.stall_seconds / 2)
