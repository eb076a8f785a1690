"""`swinserve classify FILE…`: files -> calls -> a table for people or JSON lines for programs, and files to keep."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click

from swinserve.errors import SwinserveError, Unavailable
from swinserve.image_files import ImageFile, batches, read
from swinserve.results import Classification, ImageResult

from . import options
from .embedding_file import EmbeddingFile
from .outcome import FileOutcome, Keeper
from .picture_files import PictureFiles

Ask = Callable[[Sequence[bytes]], Classification]
PATH = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@options.server
@click.option("--model", default="", help="The served name.  [default: the service's first model]")
@click.option("--model-version", "version", default="", help="The model version; needs --model.")
@click.option("--top-k", type=click.IntRange(min=0), help="Predictions for each image.  [default: the service's, 5]")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.0, help="Leave out predictions with a lower score.")
@click.option(
    "--embedding",
    metavar="FILE.npy",
    type=PATH,
    callback=options.in_a_folder,
    help="Write the embeddings: float32, a row for each file, NaN where it failed. With --json, each line has its own.",
)
@click.option(
    "--cam",
    metavar="OUT.png",
    type=PATH,
    callback=options.in_a_folder,
    help="Draw the best class's activation map over the image: bright speaks most for the class, and the map's mean is "
    "the class's logit. With several files, each goes to OUT-<its stem>.png.",
)
@options.timeout
@options.as_json
def classify(
    files: tuple[str, ...],
    server: str,
    timeout: float,
    as_json: bool,
    embedding: Path | None,
    cam: Path | None,
    **how: Any,
) -> None:
    """Classify image files; `-` is standard input.

    A file that fails is listed, the others are classified all the same, and the exit code is 1.
    """
    if how["version"] and not how["model"]:
        raise click.UsageError("--model-version needs --model")
    keepers = _keepers(files, embedding, cam)
    how |= {"embedding": embedding is not None, "class_activation_map": cam is not None}
    with options.connect(server, timeout) as client:
        found = outcomes(files, partial(client.classify_many, **how), keepers)
        try:
            failed = _print_lines(found) if as_json else _print_table(found, partial(without_class, how))
        finally:
            failed_to_keep = _finish(keepers)
    if failed or failed_to_keep:
        raise click.exceptions.Exit(1)


def _keepers(files: Sequence[str], embedding: Path | None, cam: Path | None) -> list[Keeper]:
    keepers: list[Keeper] = []
    if cam is not None:
        keepers.append(PictureFiles(cam, files))
    if embedding is not None:
        keepers.append(EmbeddingFile(embedding, len(files)))
    return keepers


def _finish(keepers: Sequence[Keeper]) -> int:
    """How many things could not be kept; each is told."""
    told = 0
    for problem in chain.from_iterable(keeper.finish() for keeper in keepers):
        click.echo(f"swinserve: {problem}", err=True)
        told += 1
    return told


def without_class(how: Mapping[str, Any], outcomes: Sequence[FileOutcome]) -> str:
    """Why good answers hold no class; "" where that cannot be known."""
    if how["top_k"] == 0:
        return "no class was asked for"
    # A model without classes never gives one, and always its embedding.
    if any(outcome.predictions or outcome.embedding is None for outcome in outcomes):
        return "no score reaches the minimum" if how["min_score"] else ""
    return "" if how["embedding"] and how["min_score"] else "the model has no classes"


def outcomes(paths: Sequence[str], ask: Ask, keepers: Sequence[Keeper] = ()) -> Iterator[FileOutcome]:
    """One outcome a file, in order, after the keepers have seen it. Raises Unavailable when going on is useless."""
    for batch in batches(read(paths)):
        readable = [file for file in batch if file.error is None]
        answers = iter(_call(readable, ask) if readable else ())
        for file in batch:
            outcome = next(answers) if file.error is None else FileOutcome(file.name, error=file.error)
            for keeper in keepers:
                keeper.keep(file, outcome)
            yield outcome


def _call(files: list[ImageFile], ask: Ask) -> list[FileOutcome]:
    try:
        answer = ask([file.content for file in files])
    except SwinserveError as error:
        # A lost worker is replaced within seconds; whatever else is unavailable would fail every other file too.
        if isinstance(error, Unavailable) and error.reason != "WORKER_LOST":
            raise
        return [FileOutcome(file.name, error=error) for file in files]
    return [_outcome(file, answer, result) for file, result in zip(files, answer.results, strict=True)]


def _outcome(file: ImageFile, answer: Classification, result: ImageResult) -> FileOutcome:
    return FileOutcome(
        file=file.name,
        model=answer.model,
        version=answer.version,
        predictions=result.predictions,
        embedding=result.embedding,
        map_region=result.map_region,
        timing=answer.timing,
        request_id=answer.request_id,
        error=result.error,
    )


def _print_lines(found: Iterable[FileOutcome]) -> int:
    """Each line as soon as it is known. Returns how many failed."""
    failed = 0
    for outcome in found:
        click.echo(outcome.json())
        failed += outcome.error is not None
    return failed


def _print_table(found: Iterable[FileOutcome], without_class: Callable[[Sequence[FileOutcome]], str]) -> int:
    from .table import print_outcomes

    done: list[FileOutcome] = []
    try:
        done.extend(found)
    finally:
        # What was classified before the service went away, or ctrl-C, has been paid for. `extend` keeps it.
        good = [outcome for outcome in done if outcome.error is None]
        print_outcomes(good, without_class(good))
        failures = [outcome for outcome in done if outcome.error is not None]
        for outcome in failures:
            click.echo(f"swinserve: {click.format_filename(outcome.file)}: {outcome.error}", err=True)
    if failures:
        click.echo(f"swinserve: {len(failures)} of {len(done)} files failed", err=True)
    return len(failures)
