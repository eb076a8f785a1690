"""The class activation map of each file's best class -> a picture beside the others: out.png, or out-<stem>.png."""

from collections.abc import Sequence
from pathlib import Path

import click

from swinserve.image_files import ImageFile

from .outcome import FileOutcome

MISSING = "--cam draws with Pillow: `pip install 'swinserve[draw]'`"


class PictureFiles:
    """Draws as soon as a file's answer is there, while its bytes still are.

    Raises click.UsageError where Pillow is missing, and for names that would cost a file, before anything is sent.
    """

    def __init__(self, pattern: Path, files: Sequence[str]) -> None:
        try:
            from .picture import Unreadable, draw
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "PIL":
                raise
            raise click.UsageError(f"{MISSING} (there is no module {error.name!r})") from error
        self._draw, self._unreadable = draw, Unreadable
        self._paths = names(pattern, files)
        self._problems: list[str] = []

    def keep(self, file: ImageFile[str], outcome: FileOutcome) -> None:
        path = self._paths[file.name]
        if outcome.error is not None:
            return
        try:
            picture = self._picture(file, outcome)
        except self._unreadable as error:
            self._problems.append(f"{path} was not drawn: {error}")
            return
        try:
            path.write_bytes(picture)
        except OSError as error:
            # The next one would fail as well, so this ends the command.
            raise click.ClickException(f"cannot write {path}: {error.strerror or error}") from error

    def finish(self) -> list[str]:
        return self._problems

    def _picture(self, file: ImageFile[str], outcome: FileOutcome) -> bytes:
        if not outcome.predictions:
            raise self._unreadable("there is no class to draw")
        best = outcome.predictions[0]
        if best.class_activation_map is None or outcome.map_region is None:
            raise self._unreadable("there is no class activation map")
        caption = f"{best.label}  {best.score:.1%}"
        return self._draw(file.content, best.class_activation_map, outcome.map_region, caption)


def names(pattern: Path, files: Sequence[str]) -> dict[str, Path]:
    """Where each file's picture goes; click.UsageError if two would go to one place or one over an image.

    files: all of them, whether an earlier run has drawn them or not, so that every run names them alike.
    """
    if pattern.suffix != ".png":
        raise click.BadParameter(f"{pattern} does not end in .png", param_hint="--cam")
    stems = ["stdin" if file == "-" else Path(file).stem for file in files]
    paths = [pattern.with_name(f"{pattern.stem}-{stem}.png") for stem in stems] if len(files) > 1 else [pattern]
    images = {Path(file).resolve() for file in files}
    takers: dict[Path, str] = {}
    for path, file in zip(paths, files, strict=True):
        if path.resolve() in images:
            raise click.UsageError(f"--cam would write {path} over an image")
        if path in takers:
            raise click.UsageError(f"--cam would draw both {takers[path]} and {file} as {path}")
        takers[path] = file
    return dict(zip(files, paths, strict=True))
