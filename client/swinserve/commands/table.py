"""Results -> tables for people; colours and the terminal's width only where there is a terminal."""

import math
from collections.abc import Sequence

import click
from rich import box
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swinserve.results import BackendTiming, Model

from .outcome import FileOutcome

# rich's own choice is the red of an alarm.
BAR = "cyan"
COLUMNS_WITHOUT_TERMINAL = 100_000
"""A pipe has no width; rich would take 80 columns and break file names in two. No row is padded to it."""


def print_outcomes(outcomes: Sequence[FileOutcome], without_class: str = "") -> None:
    """One row a prediction: file, label, score as percentage and bar, milliseconds in the service.

    Without predictions, the row tells of the embedding if there is one; why there are none, if that is known, is said
    once below the table.
    """
    table = new_table("File", "Label")
    table.add_column("Score", justify="right", no_wrap=True)
    table.add_column("", min_width=20)
    table.add_column("ms", justify="right", no_wrap=True)
    for outcome in outcomes:
        name, milliseconds = click.format_filename(outcome.file), f"{1000 * outcome.timing.total:.1f}"
        if not outcome.predictions:
            table.add_row(Text(name), Text(_nothing(outcome, bool(without_class)), style="dim"), "", "", milliseconds)
        for prediction in outcome.predictions:
            bar = ProgressBar(total=1, completed=prediction.score, width=20, complete_style=BAR, finished_style=BAR)
            table.add_row(Text(name), Text(prediction.label), f"{prediction.score:.1%}", bar, milliseconds)
            name = milliseconds = ""
    show(table)
    if without_class and not all(outcome.predictions for outcome in outcomes):
        click.echo(f"({without_class})")


def _nothing(outcome: FileOutcome, explained: bool) -> str:
    if outcome.embedding is None:
        return "no class"
    norm = math.sqrt(float(outcome.embedding @ outcome.embedding))
    embedding = f"embedding of {outcome.embedding.size}, norm {norm:.4g}"
    return embedding if explained else f"no class, {embedding}"


def print_models(models: Sequence[Model]) -> None:
    """One row a model version; what does not fit 80 columns is left to `--json`."""
    table = new_table("Model", "Version", "Ready", "Input", "Gives", "Backend", "Weights")
    for model in models:
        about = (model.name, model.version, "yes" if model.ready else "no")
        shape = (f"{model.input_height}×{model.input_width}", _gives(model))
        table.add_row(*map(Text, (*about, *shape, f"{model.backend} {model.dtype}", model.weights)))
    show(table)


def print_backends(model: Model) -> None:
    """Why its backend serves; if any were timed, one row a backend, one column a batch bucket, in images/s."""
    click.echo(f"\n{model.name} {model.version}: {model.backend_reason or 'no worker has answered yet'}")
    rates = {(timing.backend, timing.batch_bucket): _rate(timing) for timing in model.backend_timings}
    if not rates:
        return
    click.echo("Images/s at best when the archive was built; * chosen")
    buckets = sorted({bucket for _, bucket in rates})
    table = new_table("Backend")
    for bucket in buckets:
        table.add_column(f"batch {bucket}", justify="right", no_wrap=True)
    for backend in dict.fromkeys(backend for backend, _ in rates):
        table.add_row(*map(Text, (backend, *(rates.get((backend, bucket), "") for bucket in buckets))))
    show(table)


def _rate(timing: BackendTiming) -> str:
    """Unmarked numbers end in a space, so that the digits stand below each other."""
    return f"{timing.images_per_second:.1f}{'*' if timing.chosen else ' '}"


def _gives(model: Model) -> str:
    """Such as "1000 labels, embedding 768, maps 7×7"."""
    parts = (
        (len(model.labels), f"{len(model.labels)} labels"),
        (model.embedding_size, f"embedding {model.embedding_size}"),
        (model.activation_map_height, f"maps {model.activation_map_height}×{model.activation_map_width}"),
    )
    return ", ".join(text for size, text in parts if size)


def new_table(*headers: str) -> Table:
    """Without a frame; texts fold."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        # Fold, never shorten: half a file name finds no file. And fold only what may be long.
        table.add_column(header, overflow="fold", no_wrap=header in ("Version", "Ready", "Input"))
    return table


def show(table: Table) -> None:
    """On stdout; nothing if it has no rows."""
    console = Console()
    if not console.is_terminal:
        console.width = COLUMNS_WITHOUT_TERMINAL
    if table.row_count:
        console.print(table)
