"""The tuning record of an archive: which backend serves each batch bucket, on what machine that was found out, and how.

Written by the builder into swinserve.json, read by the worker and, without torch, by the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Machine:
    """Everything of a machine that could make a compiled file wrong there, or another choice better."""

    device: str
    """cpu or cuda"""
    hardware: str
    """The CPU's features that the backends use, or the GPU's name."""
    torch: str
    threads: int
    """Of one forward pass."""

    def misfit(self, other: Machine) -> str:
        """What differs, for a person; empty if nothing does."""
        mine, theirs = asdict(self), asdict(other)
        return "; ".join(f"{name} {mine[name]}, here {theirs[name]}" for name in mine if mine[name] != theirs[name])


@dataclass(frozen=True)
class Timing:
    """One candidate in one batch bucket; all candidates of a bucket took turns."""

    backend: str
    bucket: int
    best_seconds: float
    median_seconds: float
    relative_l2: float
    """Of its answers on noise, against timm in float64."""


@dataclass(frozen=True)
class Record:
    machine: Machine
    dtype: str
    tolerance: float
    """The relative L2 that answers may be off from timm in float64."""
    choice: Mapping[int, str]
    """batch bucket -> backend"""
    timings: tuple[Timing, ...] = ()
    """Empty: nothing was timed."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """backend -> why it is no candidate"""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the archive's folder engine/ -> SHA-256"""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "choice": {str(bucket): backend for bucket, backend in self.choice.items()}}

    @classmethod
    def parse(cls, values: Any) -> Self:
        """Raises ValueError or TypeError for anything that `as_json` does not write."""
        if not isinstance(values, dict) or set(values) != {each.name for each in fields(cls)}:
            raise ValueError("the tuning record has other keys")
        return cls(
            machine=Machine(**values["machine"]),
            dtype=str(values["dtype"]),
            tolerance=float(values["tolerance"]),
            choice={int(bucket): str(backend) for bucket, backend in values["choice"].items()},
            timings=tuple(Timing(**timing) for timing in values["timings"]),
            refused=dict(values["refused"]),
            files=dict(values["files"]),
        )


UNTUNED = Record(machine=Machine("", "", "", 0), dtype="", tolerance=0, choice={})
"""Of an archive that is still being built."""
