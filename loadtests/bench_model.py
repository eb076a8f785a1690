"""How fast one forward pass is: ours against timm, onnxruntime and OpenVINO, and against the floor -> CSV, plot, table.

Everything that is compared runs interleaved in one process. `make bench-model` runs it; BENCH=--quick is the part of it
that takes some minutes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from model_bench import figures, goals, rows
from model_bench.contender import Setting
from model_bench.cost import minutes
from model_bench.groups import DTYPES, Choice, groups
from model_bench.measuring import Budget, measure
from model_bench.operators import operators
from model_bench.picture import draw
from model_bench.report import figures_table, goals_table, operators_table, steps_table
from model_bench.steps import SIDES, StepRow, profile
from model_bench.subject import ARCHITECTURES, Subject
from rich.console import Console
from running import RESULTS, write

PRESETS: dict[str, dict[str, Any]] = {
    "full": {"count": 20, "seconds": 60.0},
    "quick": {
        "models": ("swin_tiny", "resnet50"),
        "batches": (8, 1),
        # The others compile for longer, and were never the fastest of their kind.
        "contenders": ("ours, native", "ours, openvino", "OpenVINO", "onnxruntime", "eager", "freezing", "floor"),
        "count": 20,
        "seconds": 12.0,
    },
    "smoke": {"models": ("micro",), "batches": (2,), "count": 1, "seconds": 0.0},
}
WHAT = f"torch{torch.__version__.partition('+')[0]}-model"


def profiles(choice: Choice, threads: int, console: Console) -> list[StepRow]:
    """Of every Swin that was chosen, at batch 8 and 1."""
    found: list[StepRow] = []
    subjects = [
        Subject.make(model, batch)
        for model in choice.models
        for batch in choice.batches
        if model != "resnet50" and batch <= 8
    ]
    sides = [name for name in SIDES if choice.names(name)]
    for subject in subjects:
        for dtype in choice.dtypes:
            found += profile(subject, Setting(dtype, threads), sides, console.print)
    if found:
        console.print(steps_table(found))
    for subject in subjects:
        dtype = "bfloat16" if "bfloat16" in choice.dtypes else "float32"
        title = f"timm eager, {subject.name}, {dtype}, batch {subject.batch}"
        console.print(operators_table(title, operators(subject, Setting(dtype, threads))))
    return found


def show(measured: Sequence[rows.Row], console: Console, picture: Path, source: str) -> None:
    """Tables to the terminal, the plot of `source` to its file. Raises ImportError when matplotlib is not installed."""
    shown = figures.of(measured)
    console.print(figures_table(shown))
    if results := goals.results(shown):
        console.print(goals_table(results))
    draw(shown, picture, f"Images per second of one forward pass (median; the stroke goes to the best)\n{source}")
    console.print(str(picture))


@click.command()
@click.option("--models", type=click.Choice(list(ARCHITECTURES)), multiple=True, help="all but micro if not given")
@click.option("--dtypes", type=click.Choice(DTYPES), multiple=True, help="all if not given")
@click.option("--batches", type=int, multiple=True, help="1, 8 and 32 if not given")
@click.option("--contenders", multiple=True, help="part of a name; all if not given")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--rounds", "count", type=int, help="at most, for each group; 20 if not given")
@click.option("--seconds", type=float, help="after which a group gets no more rounds; 60 if not given")
@click.option("--quick", "preset", flag_value="quick", help="the part with the goals, in minutes")
@click.option("--smoke", "preset", flag_value="smoke", help="a tiny model, one round: does everything run?")
@click.option(
    "--plot", "files", type=click.Path(exists=True, path_type=Path), multiple=True, help="show these CSV files"
)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="the plot; beside the CSV if not given")
def main(
    files: tuple[Path, ...], output: Path, picture: Path | None, preset: str | None, threads: int, **given: Any
) -> None:
    """Measure ours against every other way to run the models on this CPU."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    if files:
        show(rows.read(files), console, picture or files[0].with_suffix(".png"), ", ".join(file.stem for file in files))
        return
    chosen = {**PRESETS[preset or "full"], **{name: value for name, value in given.items() if value}}
    budget = Budget(threads, chosen.pop("count"), chosen.pop("seconds"))
    choice = Choice(**chosen)
    found = groups(choice)
    console.print(f"{len(found)} groups, about {minutes(found, budget.seconds):.0f} minutes on a quiet machine")
    if (load := os.getloadavg()[0]) > threads / 2:
        console.print(f"This machine is busy (load {load:.1f}): trust the best of many rounds more than the median.")
    what = f"{WHAT}-{preset}" if preset else WHAT

    written: list[Path] = []

    def keep(measured: Sequence[rows.Row]) -> None:
        if measured:
            written[:] = [write([row.as_line() for row in measured], what, output)]

    measured = measure(found, budget, console, keep)
    for path in written:
        show(measured, console, picture or path.with_suffix(".png"), path.stem)
        console.print(str(path))
    if steps := profiles(choice, threads, console):
        console.print(str(write([asdict(row) for row in steps], f"{what}-profile", output)))


if __name__ == "__main__":
    main()
