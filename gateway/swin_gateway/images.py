"""Encoded image bytes -> nothing, or the reason not to decode them: what can be told from the header alone.

The worker decodes; the gateway only keeps out, before admission, what would be refused there or would cost too much.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from swin_gateway.errors import InvalidRequest, ServingError, TooLarge, Undecodable, UnsupportedType


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """Limits on one encoded image."""

    max_bytes: int
    max_pixels: int
    formats: tuple[str, ...]

    def __post_init__(self) -> None:
        # Nothing is decoded in this process, and `max_pixels` is checked here; Pillow's own limit would only add
        # warnings on stderr and, above 179 million pixels, refuse with another number.
        Image.MAX_IMAGE_PIXELS = None

    def __call__(self, content: bytes) -> None:
        """Raises InvalidRequest (empty), TooLarge (bytes or pixels), UnsupportedType or Undecodable (broken header)."""
        if not content:
            raise InvalidRequest("the image is empty; send the file's bytes")
        if len(content) > self.max_bytes:
            raise TooLarge(
                f"the image has {len(content)} bytes, more than the {self.max_bytes} taken; send a smaller one"
            )
        width, height = self._size(content)
        if width * height > self.max_pixels:
            raise TooLarge(
                f"the image has {width}×{height} pixels, more than the {self.max_pixels} taken; send it scaled down"
            )

    def _size(self, content: bytes) -> tuple[int, int]:
        """(width, height) in pixels; lazy, nothing is decoded."""
        try:
            with Image.open(io.BytesIO(content), formats=self.formats) as image:
                return image.size
        except UnidentifiedImageError:
            raise self._unidentified(content) from None
        except Exception as broken:  # noqa: BLE001 - Pillow's plugins raise what they like on a hostile header
            raise Undecodable(f"the image's header is broken ({broken}); send a complete file") from None

    def _unidentified(self, content: bytes) -> ServingError:
        known = ", ".join(self.formats)
        if any(magic.match(content) and name in self.formats for magic, name in MAGIC):
            return Undecodable("the image's header is broken; send a complete file")
        return UnsupportedType(f"this is no image of a type taken here ({known})")


MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
)
