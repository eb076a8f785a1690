"""Embeddings of all files -> one .npy file, float32 (files, D)."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from swinserve.image_files import ImageFile

from .outcome import FileOutcome

if TYPE_CHECKING:
    from swinserve.arrays import Array


class EmbeddingFile:
    """Row i belongs to file i; the row of a file that failed, or was not reached, is NaN."""

    def __init__(self, path: Path, files: int) -> None:
        # `swinserve classify --embedding photo.png …` must not cost a photo.
        if path.suffix != ".npy":
            raise click.BadParameter(f"{path} does not end in .npy", param_hint="--embedding")
        self._path, self._files = path, files
        self._rows: list[Array | None] = []

    def keep(self, file: ImageFile, outcome: FileOutcome) -> None:
        self._rows.append(outcome.embedding)

    def finish(self) -> list[str]:
        found = {i: row for i, row in enumerate(self._rows) if row is not None}
        if not found:
            return [f"{self._path} was not written: there is no embedding"]
        self._write(found)
        lost = self._files - len(found)
        return (
            [f"{self._path}: {lost} of {self._files} rows are NaN, those of files without an embedding"] if lost else []
        )

    def _write(self, found: "dict[int, Array]") -> None:
        import numpy as np

        rows = np.full((self._files, next(iter(found.values())).size), np.nan, np.float32)
        for i, row in found.items():
            rows[i] = row
        try:
            # An open file, as numpy would add a suffix to a name that it does not like.
            with self._path.open("wb") as file:
                np.save(file, rows)
        except OSError as error:
            raise click.ClickException(f"cannot write {self._path}: {error.strerror or error}") from error
