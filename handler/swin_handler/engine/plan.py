"""How a model runs, with nothing left open."""

from __future__ import annotations

from dataclasses import dataclass

import torch

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    backend: str
    dtype: str
    """float32, bfloat16 or int8"""
    buckets: tuple[int, ...]
    """Batch sizes, ascending."""
    device: torch.device
    threads: int
    """Of one forward pass on the CPU."""
