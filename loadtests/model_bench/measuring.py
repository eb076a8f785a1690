"""Groups -> rows, under a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import rounds
from .groups import Group
from .rows import Row


@dataclass(frozen=True)
class Budget:
    threads: int
    rounds: int
    """At most, for each group."""
    seconds: float
    """After which a group gets no more rounds."""


def measure(found: Sequence[Group], budget: Budget, console: Console, keep: Callable[[list[Row]], None]) -> list[Row]:
    """All groups, one after the other. `keep` gets what there is after each; ctrl-C ends the run, as if it were all."""
    measured: list[Row] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        everything, current = bar.add_task("groups", total=len(found)), bar.add_task("", total=budget.rounds)

        def run(group: Group) -> None:
            # In a function of its own, so that its models are gone before the next group's are made.
            bar.reset(current)
            ready = rounds.prepare(
                group.entries, budget.threads, lambda text: bar.update(current, description=text), console.print
            )
            bar.update(current, description=group.name)
            for timed in rounds.run(ready, group.name, **asdict(budget)):
                measured.extend(timed)
                bar.advance(current)
            bar.advance(everything)

        try:
            for group in found:
                run(group)
                keep(measured)
        except KeyboardInterrupt:
            console.print("Stopped; what was measured is kept.")
            keep(measured)
    return measured
