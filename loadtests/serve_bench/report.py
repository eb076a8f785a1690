"""Figures -> the tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from .figures import Figures
from .goals import Goal
from .rows import IN_PROCESS
from .side import OURS
from .waterfall import PARTS, waterfall


def sides_table(figures: Figures) -> Table:
    title = "images/s best (median), latency and CPU of medians"
    table = Table(
        "side", "", "load", "images/s", "p50 ms", "p99 ms", "CPU ms an image", "of the generator", title=title
    )
    for side, variant in figures.sides():
        for load in figures.loads(side, variant):
            best = figures.best(side, load, "images_per_second", variant=variant)
            found = [
                figures.median(side, load, what, variant=variant)
                for what in ("images_per_second", "p50_ms", "p99_ms", "server_cpu_ms", "generator_cpu_ms")
            ]
            table.add_row(side, variant, load, f"{best:.1f} ({found[0]:.1f})", *(f"{each:.1f}" for each in found[1:]))
        table.add_section()
    return table


def goals_table(goals: Iterable[Goal]) -> Table:
    table = Table("goal", "asked", "best", "median", "")
    for goal in goals:
        shown = (f"{value:.2f} {goal.unit}".strip() for value in (goal.best, goal.median))
        asked = f"{'≥' if goal.at_least else '≤'} {goal.asked:g} {goal.unit}".strip()
        table.add_row(goal.what, asked, *shown, "met" if goal.met else "missed")
    return table


def waterfall_table(figures: Figures) -> Table:
    table = Table("side", "load", *PARTS, "together", title="milliseconds of a call, means")
    for side, variant in figures.sides():
        if variant == OURS and side != IN_PROCESS:
            for load in figures.loads(side, variant):
                parts = waterfall(figures, side, load)
                table.add_row(side, load, *(f"{each:.2f}" for each in parts.values()), f"{sum(parts.values()):.1f}")
    return table
