"""What one row asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """Every image gets its own result. A model without a head gives embeddings, whatever was asked."""

    images: tuple[bytes, ...]
    top_k: int
    """0: no predictions"""
    min_score: float = 0.0
    embedding: bool = False
    class_activation_map: bool = False
    """One for each prediction."""
    expires_at: float | None = None
    """time.monotonic() after which nobody reads the answer"""
    request_id: str = ""
    """The gateway's, for the log"""
