"""Encoded image bytes -> nothing, or the reason not to decode them: what can be told from the header alone.

The worker decodes; the gateway only keeps out, before admission, what would be refused there or would cost too much.
"""

from __future__ import annotations

from dataclasses import dataclass

from swin_gateway.errors import InvalidRequest, TooLarge, Undecodable, UnsupportedType
from swin_gateway.image_header import image_size, image_type


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """Limits on one encoded image; `formats` are Pillow's names."""

    max_bytes: int
    max_pixels: int
    formats: tuple[str, ...]

    def __call__(self, content: bytes) -> None:
        """Raises InvalidRequest (empty), TooLarge (bytes or pixels), UnsupportedType or Undecodable (broken header)."""
        if not content:
            raise InvalidRequest("the image is empty; send the file's bytes")
        if len(content) > self.max_bytes:
            raise TooLarge(
                f"the image has {len(content)} bytes, more than the {self.max_bytes} taken; send a smaller one"
            )
        kind = image_type(content)
        if kind is None or kind not in self.formats:
            raise UnsupportedType(f"this is no image of a type taken here ({', '.join(self.formats)})")
        try:
            width, height = image_size(content, kind)
        except ValueError as broken:
            raise Undecodable(f"the {kind} image's header is broken: {broken}; send a complete file") from None
        if width * height > self.max_pixels:
            raise TooLarge(
                f"the image has {width}×{height} pixels, more than the {self.max_pixels} taken; send it scaled down"
            )
