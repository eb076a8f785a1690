"""Rows -> the median of the rounds, of each side under each load."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .rows import Row

MEASURES = tuple(name for name, kind in Row.__annotations__.items() if kind == "float")


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    rows: Sequence[Row]

    def median(self, side: str, load: str, what: str, *, variant: str | None = None) -> float:
        return statistics.median(self._values(side, load, what, variant))

    def mean(self, side: str, load: str, what: str) -> float:
        """Of the rounds: what adds up in each of them adds up in it."""
        return statistics.fmean(self._values(side, load, what, None))

    def best(self, side: str, load: str, what: str, *, variant: str | None = None) -> float:
        """The fastest round: the highest rate, the lowest of everything else."""
        values = self._values(side, load, what, variant)
        return max(values) if what == "images_per_second" else min(values)

    def by_round(self, of: Callable[[Figures], float]) -> list[float]:
        """A figure made of others, of each round alone; rounds in which one of them is missing are left out."""
        found = []
        for number in dict.fromkeys(row.round for row in self.rows):
            with suppress(KeyError):
                found.append(of(Figures([row for row in self.rows if row.round == number])))
        return found

    def under(self, load: str) -> list[tuple[str, str]]:
        """(side, variant) of those that have been measured under it."""
        return [each for each in self.sides() if load in self.loads(*each)]

    def sides(self) -> list[tuple[str, str]]:
        """(side, variant) in the order of the first round."""
        return list(dict.fromkeys((row.side, row.variant) for row in self.rows))

    def loads(self, side: str, variant: str) -> list[str]:
        return list(dict.fromkeys(row.load for row in self.rows if (row.side, row.variant) == (side, variant)))

    def _values(self, side: str, load: str, what: str, variant: str | None) -> list[float]:
        values = [
            getattr(row, what)
            for row in self.rows
            if (row.side, row.load) == (side, load) and variant in (None, row.variant)
        ]
        if not values:
            raise KeyError(f"{side}, {load} was not measured")
        return values
