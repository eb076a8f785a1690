"""The figures of `bench_gpu`: one row for each candidate, model and batch -> columns of the CSV, tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Of = Callable[[list[float]], float]
"""min for the best round, statistics.median"""


@dataclass
class Measured:
    """One row: a candidate for one model and batch."""

    model: str
    batch: int
    candidate: str
    relative_l2: float = math.nan
    """Of its logits, against timm in float32 on the same device"""
    build_seconds: float = math.nan
    seconds: list[float] = field(default_factory=list)
    """Of one pass, one for each round"""
    note: str = ""

    def rate(self, of: Of = min) -> float:
        """Images per second."""
        return self.batch / of(self.seconds) if self.seconds else math.nan


def columns(row: Measured) -> dict[str, object]:
    times = row.seconds or [math.nan]
    return {
        "model": row.model,
        "batch": row.batch,
        "candidate": row.candidate,
        "best_images_per_second": round(row.rate(), 1),
        "median_images_per_second": round(row.rate(statistics.median), 1),
        "best_ms": round(min(times) * 1e3, 4),
        "median_ms": round(statistics.median(times) * 1e3, 4),
        "rounds": len(row.seconds),
        "relative_l2": f"{row.relative_l2:.2e}",
        "build_seconds": round(row.build_seconds, 1),
        "note": row.note,
    }


def table(rows: Sequence[Measured]) -> str:
    lines = [f"{'model':10} {'batch':>5}  {'candidate':42} {'best img/s':>11} {'median':>9} {'rel. L2':>9}  note"]
    lines += [
        f"{row.model:10} {row.batch:5}  {row.candidate:42} {row.rate():11,.0f} {row.rate(statistics.median):9,.0f} "
        f"{row.relative_l2:9.1e}  {row.note}"
        for row in rows
    ]
    return "\n".join(lines)


def goals(rows: Sequence[Measured], batch: int) -> str:
    """The goals for an H200 in bfloat16, each reached by the fastest of ours and of timm's compiled candidates."""

    def fastest(model: str, start: str, of: Of) -> float:
        asked = [row for row in rows if (row.model, row.batch) == (model, batch) and row.candidate.startswith(start)]
        return max((row.rate(of) for row in asked if row.seconds), default=math.nan)

    def ours(of: Of) -> float:
        return fastest("Swin-T", "ours", of)

    figures: list[tuple[str, float, Callable[[Of], float]]] = [
        ("Swin-T: ours / timm compiled", 1.3, lambda of: ours(of) / fastest("Swin-T", "timm, compiled", of)),
        ("Swin-T, ours: images per second", 25_000, ours),
        ("Swin-T, ours / ResNet-50, compiled", 1.0, lambda of: ours(of) / fastest("ResNet-50", "timm, compiled", of)),
    ]
    lines = [f"{f'goal for batch {batch}':36} {'asked':>8} {'best':>10} {'median':>10}"]
    for name, asked, value in figures:
        lines.append(f"{name:36} {asked:8,} {value(min):10,.2f} {value(statistics.median):10,.2f}")
    return "\n".join(lines)
