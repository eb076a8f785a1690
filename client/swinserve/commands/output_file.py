"""Outcomes -> a file that grows a record at a time, so that a later run goes on where this one ended."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import click

from swinserve.image_files import ImageFile

from .outcome import FileOutcome
from .records import FORMATS, Foreign, Records

SYNC_SECONDS = 1.0
"""At the latest so long after it was written, a record outlives the machine; the end of the process it always does."""


class OutputFile:
    """What an earlier run has found is kept and in `done`; what failed then, and a record that was cut off, is taken
    out, to be tried again. Standard input (`-`) is never done: it is another image each time.

    Raises click.UsageError for another suffix, for a file that holds something else, and for answers of another model
    or version.
    """

    def __init__(self, path: Path, model: str, version: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        if path.suffix not in FORMATS:
            raise click.BadParameter(f"{path} ends in none of {', '.join(FORMATS)}", param_hint="--output")
        self._path, self._clock = path, clock
        self._asked = (model, version)
        self._place = path.resolve()  # what a link points to is replaced, and the link stays
        self._records: Records = FORMATS[path.suffix]()
        self.done: set[str] = set()
        self._file: FileIO | None = None
        self._synced = clock()
        try:
            if path.exists():
                self._take_over()
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
        file = FileIO(self._place, "ab")
        if self._place.stat().st_size == 0:
            file.write(self._records.head)
        return file

    def _take_over(self) -> None:
        """Writes anew what is worth keeping, and puts it in the file's place only if that is not all of it."""
        new = self._place.with_name(f".{self._place.name}.new")
        try:
            with self._place.open("rb") as old, new.open("wb") as kept:
                self._copy(old, kept)
            if new.stat().st_size != self._place.stat().st_size:
                shutil.copymode(self._place, new)
                new.replace(self._place)
        except Foreign as problem:
            raise click.UsageError(f"{self._path} cannot be continued: {problem}; name another file") from problem
        finally:
            new.unlink(missing_ok=True)

    def _copy(self, old: BinaryIO, kept: BinaryIO) -> None:
        kept.write(self._records.head)
        with closing(self._records.read(old)) as records:
            for record in records:
                if not record.good:
                    continue
                for what, asked, found in zip(("model", "version"), self._asked, record[1:3], strict=True):
                    if asked not in ("", found):
                        raise Foreign(f"it has answers of the {what} {found}, not {asked}")
                if record.file != "-":
                    self.done.add(record.file)
                kept.write(record.raw)
        os.fsync(kept.fileno())

    def _unwritable(self, error: OSError) -> click.ClickException:
        return click.ClickException(f"cannot write {self._path}: {error.strerror or error}")
