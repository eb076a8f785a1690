"""How many files were done and how many failed, and the first of those on standard error."""

import math
import time
from collections.abc import Callable

import click

from swinserve.image_files import ImageFile

from .outcome import FileOutcome

LISTED = 20
"""Failures that are told one by one where an output file tells all; a list that scrolls away helps nobody."""


class Tally:
    """`lists` the failures, `most` of them if a file has all, unless whoever reads the output meets them there."""

    def __init__(self, lists: bool, most: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.done = self.failed = 0
        self._clock, self._started = clock, clock()
        self._most = math.inf if most is None else most
        self._lists = lists

    def __str__(self) -> str:
        seconds = self._clock() - self._started
        rate = self.done / max(seconds, 1e-9)
        return f"{self.done:,} file{'s' * (self.done != 1)} in {seconds:.1f} s ({rate:.0f} images/s)"

    def keep(self, file: ImageFile[str], outcome: FileOutcome) -> None:
        self.done += 1
        if outcome.error is None:
            return
        self.failed += 1
        if self._lists and self.failed <= self._most:
            click.echo(f"swinserve: {click.format_filename(outcome.file)}: {outcome.error}", err=True)

    def finish(self) -> list[str]:
        if not (self._lists and self.failed):
            return []
        more = f"; {self.failed - self._most:.0f} are not listed here" if self.failed > self._most else ""
        return [f"{self.failed} of {self.done} files failed{more}"]


class Bar:
    """Where standard error is a terminal: a bar, images/s and the time that is left."""

    def __init__(self, files: int) -> None:
        # rich is slow to import, and whoever has no terminal needs none of it.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        rate = TextColumn("{task.fields[rate]:.0f} images/s")
        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), rate, TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=False)
        self._task = self._bar.add_task("", total=files, rate=0.0)
        self._bar.start()

    def keep(self, file: ImageFile[str], outcome: FileOutcome) -> None:
        self._bar.advance(self._task)
        task = self._bar.tasks[0]
        self._bar.update(self._task, rate=task.completed / max(task.elapsed or 0.0, 1e-3))

    def finish(self) -> list[str]:
        self._bar.stop()
        return []
