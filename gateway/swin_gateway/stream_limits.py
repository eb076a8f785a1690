"""Settings -> what gRPC streams may hold of messages beside the pending bytes, and how long silence is free."""

from __future__ import annotations

from dataclasses import dataclass

from swin_gateway.pending_bytes import PendingBytes
from swin_gateway.settings import ServeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    beside: PendingBytes
    """Messages that wait for room among the pending ones, and what a silent stream may hold of its next one."""
    message_bytes: int
    """Of the largest message: gRPC does not say how much of one has come, so a silent stream counts as that."""
    silent_seconds: float
    """From which a stream counts as silent."""

    @classmethod
    def of(cls, settings: ServeSettings, message_bytes: int) -> StreamLimits:
        beside = PendingBytes(settings.max_pending_bytes)
        return cls(beside=beside, message_bytes=message_bytes, silent_seconds=settings.stall_timeout)
