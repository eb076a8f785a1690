"""Figures -> the goals of serving, each with what was asked and what was found in every round."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .figures import Figures
from .rows import IN_PROCESS
from .side import DOCUMENTED, OURS, TUNED
from .turns import EVEN, POISSON

MANY = "32 callers"
NULL = "gRPC, no model"
"""The side whose model does nothing: all of its CPU time is what serving costs."""
PHOTOS = "of_photos_ms"


@dataclass(frozen=True)
class Goal:
    what: str
    asked: float
    at_least: bool
    """Else at most."""
    rounds: Sequence[float]
    """What was found in each."""
    unit: str = ""

    @property
    def best(self) -> float:
        return max(self.rounds) if self.at_least else min(self.rounds)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool:
        """By the median."""
        return self.median >= self.asked if self.at_least else self.median <= self.asked


def goals(figures: Figures) -> Iterator[Goal]:
    """Of each of our sides in turn."""
    for side, variant in figures.sides():
        if variant == OURS and side not in (IN_PROCESS, NULL):
            yield from _of_side(figures, side)
    if any(side == NULL for side, _ in figures.sides()):
        rounds = figures.by_round(lambda of: of.median(NULL, MANY, "server_cpu_ms"))
        yield Goal("CPU time of a request without model and decode", 2.0, False, rounds, "ms")


def _of_side(figures: Figures, side: str) -> Iterator[Goal]:
    rounds = figures.by_round(lambda of: _rate(of, side) / _alone(of, "batch 8", "images_per_second"))
    yield Goal(f"{side}: throughput at 32 callers / in-process engine with decode", 0.90, True, rounds)
    rounds = figures.by_round(lambda of: of.median(side, "1 caller", PHOTOS) - _alone(of, "batch 1", PHOTOS))
    yield Goal(f"{side}: p50 of one caller - in-process time of a batch of one", 4.0, False, rounds, "ms")
    for variant, asked in ((DOCUMENTED, 2.0), (TUNED, 0.95)):
        if rounds := figures.by_round(lambda of, variant=variant: _rate(of, side) / _best_peer(of, variant)):
            yield Goal(f"{side}: throughput at 32 callers / best peer {variant}, round by round", asked, True, rounds)
    for load in (EVEN, POISSON):
        rounds = figures.by_round(
            lambda of, load=load: of.median(side, load, "p99_ms") / _alone(of, "batch 1", "mean_ms")
        )
        yield Goal(f"{side}: p99 in an open loop at {load} / in-process time of a batch of one", 3.0, False, rounds)
    rounds = figures.by_round(
        lambda of: of.median(side, MANY, "server_cpu_ms") - _alone(of, "batch 8", "server_cpu_ms")
    )
    yield Goal(f"{side}: CPU time of a request - of an image in process", 2.0, False, rounds, "ms")
    rounds = figures.by_round(lambda of: of.median(side, MANY, "memory_mb") * 2**20 / 1e9)
    yield Goal(f"{side}: memory of JVM, workers and gateway when the load has ended", 2.2, False, rounds, "GB")


def _rate(of: Figures, side: str, variant: str | None = None) -> float:
    return of.median(side, MANY, "images_per_second", variant=variant)


def _alone(of: Figures, load: str, what: str) -> float:
    return of.median(IN_PROCESS, load, what)


def _best_peer(of: Figures, variant: str) -> float:
    """Its images a second. Raises KeyError where there is none."""
    rates = [_rate(of, side, variant) for side, found in of.under(MANY) if found == variant]
    if not rates:
        raise KeyError(variant)
    return max(rates)
