"""Images as a caller gives them -> their bytes, or why there are none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from .errors import InvalidRequest

T = TypeVar("T")


@dataclass(frozen=True)
class ImageFile(Generic[T]):
    """An image's bytes, or why they could not be read; `name` is how its caller knows it."""

    name: T
    content: bytes = b""
    error: InvalidRequest | None = None


def image_file(name: T, image: bytes | str | Path) -> ImageFile[T]:
    """A file that cannot be read gives its error and stops nothing."""
    try:
        return ImageFile(name, content(image))
    except OSError as error:
        message = f"cannot read the file: {error.strerror or error}"
        return ImageFile(name, error=InvalidRequest(message, reason="UNREADABLE_FILE"))


def content(image: bytes | str | Path) -> bytes:
    """OSError where there is no such file."""
    return image if isinstance(image, bytes) else Path(image).read_bytes()
