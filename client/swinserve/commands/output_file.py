"""Outcomes -> a file that grows a record at a time, so that a later run goes on where this one ended."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from io import FileIO
from pathlib import Path

import click

from swinserve.image_files import ImageFile

from .outcome import FileOutcome
from .records import FORMATS, Foreign, Records

SYNC_SECONDS = 1.0
"""At the latest so long after it was written, a record outlives the machine; the end of the process it always does."""


class OutputFile:
    """What an earlier run has found is kept and in `done`; what failed then, and a record that was cut off, is taken
    out, to be tried again.

    Raises click.UsageError for another suffix, for a file that holds something else, and for answers of another model.
    """

    def __init__(self, path: Path, model: str, clock: Callable[[], float] = time.monotonic) -> None:
        if path.suffix not in FORMATS:
            raise click.BadParameter(f"{path} ends in none of {', '.join(FORMATS)}", param_hint="--output")
        self._path, self._clock = path, clock
        self._records: Records = FORMATS[path.suffix]()
        self.done: set[str] = set()
        self._file: FileIO | None = None
        self._synced = clock()
        try:
            if path.exists():
                self._take_over(model)
        except OSError as error:
            raise self._unwritable(error) from error

    def keep(self, file: ImageFile[str], outcome: FileOutcome) -> None:
        try:
            if self._file is None:
                self._file = self._begun()
            # One write of its own a record, so that the end of this process cuts none in two.
            self._file.write(self._records.written(outcome))
            if self._clock() - self._synced >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = self._clock()
        except OSError as error:
            # The next one would fail as well, so this ends the command.
            raise self._unwritable(error) from error

    def finish(self) -> list[str]:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
        return []

    def _begun(self) -> FileIO:
        file = FileIO(self._path, "ab")
        if self._path.stat().st_size == 0:
            file.write(self._records.head)
        return file

    def _take_over(self, model: str) -> None:
        """Writes anew what is worth keeping, and puts it in the file's place only if that is not all of it."""
        new = self._path.with_name(f".{self._path.name}.new")
        with self._path.open("rb") as old, new.open("wb") as kept, closing(self._records.read(old)) as records:
            kept.write(self._records.head)
            try:
                for record in records:
                    if record.good and model not in ("", record.model):
                        raise Foreign(f"it has answers of the model {record.model}, not {model}")
                    if record.good:
                        self.done.add(record.file)
                        kept.write(record.raw)
            except Foreign as problem:
                new.unlink()
                raise click.UsageError(f"{self._path} cannot be continued: {problem}; name another file") from problem
            os.fsync(kept.fileno())
        if new.stat().st_size == self._path.stat().st_size:
            new.unlink()
        else:
            new.replace(self._path)

    def _unwritable(self, error: OSError) -> click.ClickException:
        return click.ClickException(f"cannot write {self._path}: {error.strerror or error}")
