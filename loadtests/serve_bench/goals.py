"""Figures -> the goals of serving, each with what was asked and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .figures import Figures
from .rows import IN_PROCESS
from .side import DOCUMENTED, TUNED
from .turns import EVEN, POISSON

MANY = "32 callers"
NULL = "gRPC, no model"
"""The side whose model does nothing: all of its CPU time is what serving costs."""
SIDES = ("gRPC", "REST")
Of = Callable[..., float]
"""Figures.best or Figures.median"""


@dataclass(frozen=True)
class Goal:
    what: str
    asked: str
    best: float
    """Of the rounds, and"""
    median: float
    unit: str = ""
    met: bool = True
    """By the median."""


def goals(figures: Figures) -> Iterator[Goal]:
    for side in SIDES:
        yield _at_least(
            f"throughput at 32 callers / in-process engine with decode, {side}",
            0.90,
            figures.both(lambda of, side=side: of(side, MANY, "images_per_second") / _ceiling(of)),
        )
    for side in SIDES:
        yield _at_most(
            f"p50 of one caller - in-process time of a batch of one, {side}",
            4.0,
            figures.both(
                lambda of, side=side: of(side, "1 caller", "of_photos_ms") - of(IN_PROCESS, "batch 1", "of_photos_ms")
            ),
            "ms",
        )
    for variant, asked in ((DOCUMENTED, 2.0), (TUNED, 0.95)):
        if peers := [side for side, found in figures.sides() if found == variant]:
            yield _at_least(
                f"throughput at 32 callers / best peer, {variant} ({_best_peer(figures, variant)}), REST",
                asked,
                figures.both(
                    lambda of, peers=peers, variant=variant: (
                        of("REST", MANY, "images_per_second")
                        / max(of(peer, MANY, "images_per_second", variant=variant) for peer in peers)
                    )
                ),
            )
    for load in (EVEN, POISSON):
        yield _at_most(
            f"p99 in an open loop at {load} / in-process time of a batch of one, gRPC",
            3.0,
            figures.both(lambda of, load=load: of("gRPC", load, "p99_ms") / of(IN_PROCESS, "batch 1", "mean_ms")),
        )
    if any(side == NULL for side, _ in figures.sides()):
        found = figures.both(lambda of: of(NULL, MANY, "server_cpu_ms"))
        yield _at_most("CPU time of a request without model and decode", 2.0, found, "ms")
    yield _at_most(
        "CPU time of a request - of an image in process, gRPC",
        2.0,
        figures.both(lambda of: of("gRPC", MANY, "server_cpu_ms") - of(IN_PROCESS, "batch 8", "server_cpu_ms")),
        "ms",
    )
    memory = figures.both(lambda of: of("gRPC", MANY, "memory_mb") / 1000)
    yield _at_most("memory of JVM, worker and gateway under load", 2.2, memory, "GB")


def _ceiling(of: Of) -> float:
    return of(IN_PROCESS, "batch 8", "images_per_second")


def _best_peer(figures: Figures, variant: str) -> str:
    peers = [side for side, found in figures.sides() if found == variant]
    return max(peers, key=lambda peer: figures.median(peer, MANY, "images_per_second", variant=variant))


def _at_least(what: str, asked: float, found: tuple[float, float], unit: str = "") -> Goal:
    return Goal(what, f"≥ {asked:g}", *found, unit, met=found[1] >= asked)


def _at_most(what: str, asked: float, found: tuple[float, float], unit: str = "") -> Goal:
    return Goal(what, f"≤ {asked:g}", *found, unit, met=found[1] <= asked)
