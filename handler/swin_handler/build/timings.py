"""Tuning record -> the table of what was timed, and the sentence on what was chosen."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.text import Text

from swin_handler.build import table as tables
from swin_handler.tuning import Record, Timing


def show(record: Record, console: Console) -> None:
    if record.timings:
        console.print(report(record), "", sep="\n")


def report(record: Record) -> RenderableType:
    """One row a backend, one column a batch bucket: images/s of the best forward pass, the median's behind it."""
    buckets = tuple(sorted(record.choice))
    headers = [f"batch {bucket}" for bucket in buckets]
    made = tables.table("Backend", *headers, "Off by", numbers=(*headers, "Off by"))
    timings = {(timing.backend, timing.bucket): timing for timing in record.timings}
    for backend in dict.fromkeys(timing.backend for timing in record.timings):
        rows = [timings[backend, bucket] for bucket in buckets]
        cells = [_cell(timing, chosen=record.choice[timing.bucket] == backend) for timing in rows]
        made.add_row(backend, *cells, f"{max(timing.relative_l2 for timing in rows):.0e}")
    return Group(made, "", Text(legend(record), style="dim"))


def legend(record: Record) -> str:
    machine = record.machine
    refused = "".join(f"\nNot timed: {backend}: {reason}" for backend, reason in record.refused.items())
    return (
        f"Images/s in {record.dtype}, best (median); * serves. Off by: relative L2 against timm in float64.\n"
        f"Timed in turns, {machine.threads} threads, {machine.hardware}, torch {machine.torch}.{refused}"
    )


def _cell(timing: Timing, *, chosen: bool) -> Text:
    best, median = (timing.bucket / seconds for seconds in (timing.best_seconds, timing.median_seconds))
    return Text(f"{best:.1f} ({median:.1f}){'*' if chosen else ' '}", style="bold" if chosen else "")
