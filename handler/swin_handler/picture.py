"""An opened image file -> upright, opaque RGB pixels, a JPEG's perhaps reduced, and where the whole lies in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from swin_handler.errors import UnsupportedType

Size = tuple[int, int]
"""(width, height) in pixels."""
Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels; they may lie between two."""

CORRUPT = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow raises of a damaged file."""


class Picture(NamedTuple):
    image: Image.Image
    """Upright and RGB."""
    size: Size
    """Of the upright picture in the file, which the image may be a reduction of."""
    frame: Box
    """Where that picture lies in the image: a reduction is rounded up to whole pixels, so its last are partly empty."""


class _Turn(NamedTuple):
    """What makes the stored pixels upright."""

    method: Image.Transpose | None = None
    swaps: bool = False
    """Rows become columns."""
    from_right: bool = False
    """The upright picture's left was where the stored rows or columns end."""
    from_bottom: bool = False

    def of(self, size: Size) -> Size:
        """The upright picture's size from the stored one, and the other way round."""
        return size[::-1] if self.swaps else size


_ORIENTATION = 0x0112
_AS_STORED = _Turn()
# EXIF orientation -> what turns the stored pixels upright (EXIF 2.32, table 4.6.4 A).
_TURNS = {
    2: _Turn(Image.Transpose.FLIP_LEFT_RIGHT, from_right=True),
    3: _Turn(Image.Transpose.ROTATE_180, from_right=True, from_bottom=True),
    4: _Turn(Image.Transpose.FLIP_TOP_BOTTOM, from_bottom=True),
    5: _Turn(Image.Transpose.TRANSPOSE, swaps=True),
    6: _Turn(Image.Transpose.ROTATE_270, swaps=True, from_right=True),
    7: _Turn(Image.Transpose.TRANSVERSE, swaps=True, from_right=True, from_bottom=True),
    8: _Turn(Image.Transpose.ROTATE_90, swaps=True, from_bottom=True),
}


def read(image: Image.Image, enough: Callable[[Size], Size | None]) -> Picture:
    """The first frame's picture; raises what is in CORRUPT, and UnsupportedType.

    enough: size of the upright picture -> the least that it may be reduced to; None: it is wanted whole.
    """
    stored = image.size
    extent = _reduce(image, enough) if isinstance(image, JpegImageFile) else None
    image.load()
    turn = _turn(image)
    upright = _to_rgb(image if turn.method is None else image.transpose(turn.method))
    if extent is None:
        return Picture(upright, upright.size, (0, 0, *upright.size))
    wide, high = extent[::-1] if turn.swaps else extent
    left = upright.width - wide if turn.from_right else 0
    top = upright.height - high if turn.from_bottom else 0
    return Picture(upright, turn.of(stored), (left, top, left + wide, top + high))


def _reduce(image: JpegImageFile, enough: Callable[[Size], Size | None]) -> tuple[float, float] | None:
    """Let libjpeg decode at 1/2, 1/4 or 1/8; the width and height of the whole in its pixels, None: not reduced."""
    turn = _turn(image)
    least = enough(turn.of(image.size))
    drafted = image.draft(None, turn.of(least)) if least is not None else None
    if drafted is None:
        return None
    _mode, (_left, _top, wide, high) = drafted
    return wide, high


def _turn(image: Image.Image) -> _Turn:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except CORRUPT:
        return _AS_STORED  # good pixels with broken metadata are still good pixels
    return _TURNS.get(orientation, _AS_STORED) if isinstance(orientation, int) else _AS_STORED


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _eight_bit(image)
    if image.mode in ("I", "F"):
        raise UnsupportedType("the image has 32 bits per channel; convert it to 8 or 16")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips 16-bit grey at 255: nearly everything would come out white.
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255  # onto white, as everywhere
    return Image.fromarray(grey)
