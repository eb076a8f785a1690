"""Embeddings of all files -> one .npy file, float32 (files, D), written row by row."""

from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from swinserve.image_files import ImageFile

from .outcome import FileOutcome

if TYPE_CHECKING:
    from swinserve.arrays import Array


class EmbeddingFile:
    """Row i belongs to file i; the row of a file that failed, or was not reached, is NaN. Begun with the first
    embedding, which tells how long a row is."""

    def __init__(self, path: Path, files: int) -> None:
        # `swinserve classify --embedding photo.png …` must not cost a photo.
        if path.suffix != ".npy":
            raise click.BadParameter(f"{path} does not end in .npy", param_hint="--embedding")
        self._path, self._files = path, files
        self._file: IO[bytes] | None = None
        self._seen = self._found = self._size = 0

    def keep(self, file: ImageFile[str], outcome: FileOutcome) -> None:
        row = outcome.embedding
        self._found += row is not None
        try:
            if self._file is None and row is not None:
                self._begin(row.size)
            if self._file is not None:
                self._file.write(self._nan(1) if row is None else _bytes(row, self._size))
        except OSError as error:
            raise click.ClickException(f"cannot write {self._path}: {error.strerror or error}") from error
        self._seen += 1

    def finish(self) -> list[str]:
        if self._found == 0:
            return [f"{self._path} was not written: there is no embedding"]
        if self._file is None:  # it could not be opened, which has been told
            return []
        with self._file:
            self._file.write(self._nan(self._files - self._seen))
        lost = self._files - self._found
        return (
            [f"{self._path}: {lost} of {self._files} rows are NaN, those of files without an embedding"] if lost else []
        )

    def _begin(self, size: int) -> None:
        from numpy.lib import format

        self._size = size
        self._file = self._path.open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._files, size)}
        format.write_array_header_1_0(self._file, header)
        self._file.write(self._nan(self._seen))

    def _nan(self, rows: int) -> bytes:
        import numpy as np

        return np.full((rows, self._size), np.nan, "<f4").tobytes()


def _bytes(row: "Array", size: int) -> bytes:
    if row.size != size:
        raise click.ClickException(f"an embedding of {row.size} after some of {size}: is the model another now?")
    return row.astype("<f4").tobytes()
