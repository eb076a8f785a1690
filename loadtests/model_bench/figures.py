"""Rows -> images per second, best and median, of every contender in every group."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .rows import Row


@dataclass(frozen=True)
class Figure:
    group: str
    model: str
    dtype: str
    batch: int
    contender: str
    best: float
    """Images per second, of the fastest round."""
    median: float
    rounds: int
    relative_l2: float | None

    @property
    def wrong(self) -> bool:
        """It is fast at something else than this model."""
        return self.relative_l2 is not None and not self.relative_l2 <= _BOUND[self.dtype]


_BOUND = {"float32": 1e-3, "bfloat16": 0.2, "int8": 0.5}
"""Relative L2 that nobody who rounds exceeds: far above what is usual, far below what a wrong kernel answers."""
Chosen = Callable[[Figure], bool]


def of(rows: Iterable[Row]) -> list[Figure]:
    """In the order in which they first appear."""
    found: dict[tuple[str, str, str, int, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.group, row.model, row.dtype, row.batch, row.contender), []).append(row)
    return [_figure(same) for same in found.values()]


def fastest(figures: Iterable[Figure], chosen: Chosen) -> Figure | None:
    """The fastest by best time of those chosen; None when there is none."""
    return max(filter(chosen, figures), key=lambda figure: figure.best, default=None)


def _figure(rows: list[Row]) -> Figure:
    first, seconds = rows[0], [row.seconds for row in rows]
    return Figure(
        group=first.group,
        model=first.model,
        dtype=first.dtype,
        batch=first.batch,
        contender=first.contender,
        best=first.batch / min(seconds),
        median=first.batch / statistics.median(seconds),
        rounds=len(rows),
        relative_l2=first.relative_l2,
    )
