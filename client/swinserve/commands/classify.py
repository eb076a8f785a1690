"""`swinserve classify FILE…`: files -> calls -> a table for people or JSON lines for programs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import click

from swinserve.errors import SwinserveError, Unavailable
from swinserve.image_files import ImageFile, batches, read
from swinserve.results import Classification

from . import options
from .outcome import FileOutcome

Ask = Callable[[Sequence[bytes]], Classification]


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@options.server
@click.option("--model", default="", help="The served name.  [default: the service's first model]")
@click.option("--model-version", "version", default="", help="The model version; needs --model.")
@click.option("--top-k", type=click.IntRange(min=1), help="Predictions for each image.  [default: the service's, 5]")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.0, help="Leave out predictions with a lower score.")
@options.timeout
@options.as_json
def classify(files: tuple[str, ...], server: str, timeout: float, as_json: bool, **how: Any) -> None:
    """Classify image files; `-` is standard input.

    A file that fails is listed, the others are classified all the same, and the exit code is 1.
    """
    if how["version"] and not how["model"]:
        raise click.UsageError("--model-version needs --model")
    with options.connect(server, timeout) as client:
        found = outcomes(files, partial(client.classify_many, **how))
        failed = _print_lines(found) if as_json else _print_table(found)
    if failed:
        raise click.exceptions.Exit(1)


def outcomes(paths: Sequence[str], ask: Ask) -> Iterator[FileOutcome]:
    """One outcome a file, in order. Raises Unavailable when going on is useless."""
    for batch in batches(read(paths)):
        readable = [file for file in batch if file.error is None]
        answers = iter(_call(readable, ask) if readable else ())
        for file in batch:
            yield next(answers) if file.error is None else FileOutcome(file.name, error=file.error)


def _call(files: list[ImageFile], ask: Ask) -> list[FileOutcome]:
    try:
        answer = ask([file.content for file in files])
    except SwinserveError as error:
        # A lost worker is replaced within seconds; whatever else is unavailable would fail every other file too.
        if isinstance(error, Unavailable) and error.reason != "WORKER_LOST":
            raise
        return [FileOutcome(file.name, error=error) for file in files]
    about = (answer.timing, answer.request_id)
    return [
        FileOutcome(file.name, answer.model, answer.version, result.predictions, *about, result.error)
        for file, result in zip(files, answer.results, strict=True)
    ]


def _print_lines(found: Iterable[FileOutcome]) -> int:
    """Each line as soon as it is known. Returns how many failed."""
    failed = 0
    for outcome in found:
        click.echo(outcome.json())
        failed += outcome.error is not None
    return failed


def _print_table(found: Iterable[FileOutcome]) -> int:
    from .table import print_outcomes

    done: list[FileOutcome] = []
    try:
        done.extend(found)
    finally:
        # What was classified before the service went away, or ctrl-C, has been paid for. `extend` keeps it.
        print_outcomes([outcome for outcome in done if outcome.error is None])
        failures = [outcome for outcome in done if outcome.error is not None]
        for outcome in failures:
            click.echo(f"swinserve: {click.format_filename(outcome.file)}: {outcome.error}", err=True)
    if failures:
        click.echo(f"swinserve: {len(failures)} of {len(done)} files failed", err=True)
    return len(failures)
