"""`swinserve classify FILE…`: files -> calls -> a table for people, JSON lines or CSV for programs, files to keep."""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from . import inputs, options, show
from .embedding_file import EmbeddingFile
from .outcome import FileOutcome, Keeper
from .outcomes import outcomes
from .output_file import OutputFile
from .picture_files import PictureFiles
from .tally import LISTED, Bar, Tally

Show = Callable[[Iterable[FileOutcome]], None]
PATH = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, metavar="FILE…", type=click.Path(allow_dash=True))
@click.option(
    "--files-from",
    metavar="LIST",
    type=click.Path(allow_dash=True),
    help="Also the files named in LIST, one a line; `-` is standard input.",
)
@options.server
@options.tls
@click.option("--model", default="", help="The served name.  [default: the service's first model]")
@click.option("--model-version", "version", default="", help="The model version; needs --model.")
@click.option("--top-k", type=click.IntRange(min=0), help="Predictions for each image.  [default: the service's, 5]")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.0, help="Leave out predictions with a lower score.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=PATH,
    callback=options.in_a_folder,
    help="Append to FILE.jsonl (as --json prints) or FILE.csv (a row a prediction), file by file. The same command "
    "goes on where it ended: files that FILE has are skipped, those that failed are tried again, and so is `-`.",
)
@click.option(
    "--embedding",
    metavar="FILE.npy",
    type=PATH,
    callback=options.in_a_folder,
    help="Write the embeddings: float32, a row for each file, NaN where it failed; with --output, "
    "they are of one run and cannot be gone on with. With --json, each line has its own.",
)
@click.option(
    "--cam",
    metavar="OUT.png",
    type=PATH,
    callback=options.in_a_folder,
    help="Draw the best class's activation map over the image: bright speaks most for the class, and the map's mean is "
    "the class's logit. With several files, each goes to OUT-<its stem>.png.",
)
@click.option(
    "--concurrency",
    metavar="IMAGES",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Images under way at a time, several in a call.",
)
@options.timeout
@options.as_json
def classify(
    files: tuple[str, ...],
    files_from: str | None,
    server: str,
    timeout: float,
    as_json: bool,
    output: Path | None,
    embedding: Path | None,
    cam: Path | None,
    concurrency: int,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    **how: Any,
) -> None:
    """Classify image files, folders of them, or standard input.

    FILE is an image, a folder (all JPEG, PNG and WebP below it), a glob, or `-` for standard input. One that fails is
    listed, the others are classified all the same, and the exit code is 1. What every other file would fail with too,
    such as a model that is not served, ends it.

    \b
    swinserve classify photo.jpg
    swinserve classify photos --output answers.jsonl
    swinserve classify 'photos/**/*.webp' --top-k 1 --output answers.csv
    """
    if how["version"] and not how["model"]:
        raise click.UsageError("--model-version needs --model")
    if as_json and output is not None:
        raise click.UsageError("--json prints what --output FILE.jsonl keeps: one of them will do")
    names = inputs.named(files, files_from)
    if output is not None:
        names = list(dict.fromkeys(names))  # as a second run would have it
    earlier = [] if output is None else [OutputFile(output, how["model"], how["version"])]
    todo = [name for name in names if not any(name in file.done for file in earlier)]
    if len(todo) < len(names) and embedding is not None:
        raise click.UsageError(f"{embedding} would lack the files that {output} has already: name another --output")
    how |= {"embedding": embedding is not None, "class_activation_map": cam is not None}
    tally = Tally(lists=not as_json, most=None if output is None else LISTED)
    with options.connect(server, timeout, ca, cert, key) as client:
        keepers = [tally, *_keepers(names, embedding, cam), *earlier]
        try:
            # Only here, where it is stopped whatever happens.
            keepers = [*_bar(len(todo), output), *keepers]
            found = outcomes(todo, partial(client.classify_many, **how), keepers, concurrency)
            _show(as_json, output, how)(found)
        finally:
            problems = [problem for keeper in keepers for problem in keeper.finish()]
            if output is not None:
                problems.append(f"{tally}; {len(names) - len(todo):,} were in {output} already")
            for problem in problems:
                click.echo(f"swinserve: {problem}", err=True)
    if tally.failed or len(problems) > len(earlier):
        raise click.exceptions.Exit(1)


def _bar(files: int, output: Path | None) -> list[Keeper]:
    """None where nobody looks, and where the results themselves show how far it is."""
    return [Bar(files)] if sys.stderr.isatty() and (output is not None or not sys.stdout.isatty()) else []


def _keepers(names: Sequence[str], embedding: Path | None, cam: Path | None) -> list[Keeper]:
    keepers: list[Keeper] = []
    if cam is not None:
        keepers.append(PictureFiles(cam, names))
    if embedding is not None:
        keepers.append(EmbeddingFile(embedding, len(names)))
    return keepers


def _show(as_json: bool, output: Path | None, how: dict[str, Any]) -> Show:
    if output is not None:
        return show.nothing
    return show.lines if as_json else partial(show.tables, how=how)
