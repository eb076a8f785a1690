"""The key `engine` of an archive's manifest -> `EngineRecord`: which backend serves each batch bucket, and how that was
found out. swin_handler.tuning writes it.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt
from pydantic import AllowInfNan, BaseModel, ConfigDict

Size = Annotated[int, Gt(0)]
# Finite, for JSON has no other numbers: one that got in here would not get out in a REST answer.
Seconds = Annotated[float, Gt(0), AllowInfNan(False)]
RelativeL2 = Annotated[float, Ge(0), AllowInfNan(False)]


class Machine(BaseModel):
    """Where the backends were compiled and timed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    """cpu or cuda"""
    hardware: str
    """The CPU's features that the backends use, or the GPU's name."""
    torch: str
    threads: Size
    """Of one forward pass."""


class Timing(BaseModel):
    """One backend in one batch bucket; all backends of a bucket took turns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    bucket: Size
    best_seconds: Seconds
    median_seconds: Seconds
    relative_l2: RelativeL2
    """Of its answers on noise, against timm in float64."""


class EngineRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: Machine
    dtype: str
    tolerance: RelativeL2
    """The relative L2 that answers may be off from timm in float64."""
    choice: dict[Size, str]
    """batch bucket -> backend"""
    timings: tuple[Timing, ...]
    """Empty: nothing was timed."""
    refused: dict[str, str]
    """backend -> why it was no candidate"""
    files: dict[str, str]
    """Path below the archive's folder engine/ -> SHA-256; the worker checks them."""
