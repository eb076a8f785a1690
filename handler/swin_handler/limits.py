"""What an encoded image may be and cost; what is beyond is refused, most of it from the header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from swin_handler.config import FORMATS, HandlerConfig
from swin_handler.memory import MemoryBudget

_BATCH_SHARE = 0.75
"""Of the time that TorchServe gives a batch, after which it ends the worker: decoding every image may take no more."""


@dataclass(frozen=True)
class Limits:
    """Everything is taken unless it is said otherwise; max_pixels is the decoder's own."""

    formats: Sequence[str] = FORMATS
    """Pillow's names."""
    max_frames: int = 2**31
    seconds: float = math.inf
    """Of CPU time, for one image."""
    memory: MemoryBudget = field(default_factory=lambda: MemoryBudget(2**40))
    """Of all threads that decode."""

    @classmethod
    def of(cls, config: HandlerConfig, *, batch_size: int, batch_seconds: float) -> Limits:
        """batch_seconds: what TorchServe gives to a batch of batch_size images"""
        return cls(
            formats=config.formats,
            max_frames=config.max_frames,
            seconds=min(config.decode_seconds, _BATCH_SHARE * batch_seconds / batch_size),
            memory=MemoryBudget(config.decode_memory_mb * 2**20),
        )


UNLIMITED = Limits()
