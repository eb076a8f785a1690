"""Paths -> images read from disk -> batches that fit one call, in the order of the paths."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import InvalidRequest

IMAGES_PER_CALL = 16
BYTES_PER_CALL = 8_000_000
"""Well under the limit of one message that services, and the proxies before them, commonly have."""


@dataclass(frozen=True)
class ImageFile:
    """A file's bytes, or why they could not be read."""

    name: str
    content: bytes = b""
    error: InvalidRequest | None = None


def read(paths: Iterable[str]) -> Iterator[ImageFile]:
    """One file at a time; `-` is standard input. A file that cannot be read gives its error and stops nothing."""
    for path in paths:
        try:
            content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        except OSError as error:
            message = f"cannot read the file: {error.strerror or error}"
            yield ImageFile(path, error=InvalidRequest(message, reason="UNREADABLE_FILE"))
        else:
            yield ImageFile(path, content)


def batches(files: Iterable[ImageFile]) -> Iterator[list[ImageFile]]:
    """Groups of at most 16 images and 8 MB; a file above that goes alone, for the service to judge."""
    batch: list[ImageFile] = []
    size = 0
    for file in files:
        if batch and (len(batch) == IMAGES_PER_CALL or size + len(file.content) > BYTES_PER_CALL):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += len(file.content)
    if batch:
        yield batch
