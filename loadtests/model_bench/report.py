"""Figures, goals and profiles -> tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from .figures import Figure
from .floor import FLOOR
from .goals import Result
from .steps import StepRow


def figures_table(figures: Sequence[Figure]) -> Table:
    """Images per second of everybody, and the fraction of the floor of the same group."""
    table = Table("model", "dtype", "batch", "contender", "best", "median", "of the floor", "relative L2", "rounds")
    for column in table.columns[4:]:
        column.justify = "right"
    floors = {(figure.group, figure.model): figure for figure in figures if figure.contender == FLOOR}
    previous = ""
    for figure in figures:
        if previous not in ("", figure.group):
            table.add_section()
        previous = figure.group
        floor = floors.get((figure.group, figure.model))
        table.add_row(
            figure.model,
            figure.dtype,
            str(figure.batch),
            figure.contender,
            f"{figure.best:.1f}",
            f"{figure.median:.1f}",
            "" if floor in (None, figure) else f"{figure.best / floor.best:.2f}",
            _error(figure),
            str(figure.rounds),
        )
    return table


def _error(figure: Figure) -> str:
    if figure.relative_l2 is None:
        return ""
    return f"{figure.relative_l2:.1e}{' WRONG' if figure.wrong else ''}"


def goals_table(results: Sequence[Result]) -> Table:
    table = Table("goal", "target", "best", "median", "reached", "ours", "other")
    for column in table.columns[1:4]:
        column.justify = "right"
    for result in results:
        table.add_row(
            result.goal.text,
            f"{result.goal.target:.2f}",
            f"{result.best:.2f}",
            f"{result.median:.2f}",
            "yes" if result.reached else "no",
            *(f"{side.contender} {side.best:.1f} ({side.median:.1f})" for side in (result.ours, result.other)),
        )
    return table


def steps_table(rows: Sequence[StepRow]) -> Table:
    """Milliseconds of a batch in each step, a column for each of those profiled."""
    contenders = list(dict.fromkeys(row.contender for row in rows))
    table = Table("model", "dtype", "batch", "step", *(f"{name}, ms" for name in contenders))
    for column in table.columns[4:]:
        column.justify = "right"
    seconds = {(row.model, row.dtype, row.batch, row.step, row.contender): row.seconds for row in rows}
    for key in dict.fromkeys(place[:4] for place in seconds):
        model, dtype, batch, step = key
        found = (seconds.get((*key, name)) for name in contenders)
        table.add_row(model, dtype, str(batch), step, *("" if each is None else f"{1000 * each:.2f}" for each in found))
    return table


def operators_table(title: str, seconds: Mapping[str, float]) -> Table:
    table = Table("operators", "ms", "share", title=title)
    for kind, each in seconds.items():
        table.add_row(kind, f"{1000 * each:.2f}", f"{each / sum(seconds.values()):.0%}")
    return table
