"""A bar on a terminal's stderr while time passes; without a terminal, nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(seconds: float) -> Iterator[Callable[[str], None]]:
    """What to call every now and then with a few words; the bar is as long as `seconds`."""
    if not sys.stderr.isatty():
        yield lambda _words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=seconds)
        yield lambda words: progress.update(task, completed=progress.tasks[0].elapsed or 0, description=words)
