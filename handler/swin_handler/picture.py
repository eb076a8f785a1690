"""An opened image file -> opaque RGB pixels, a JPEG's perhaps reduced, and what turns them upright."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from swin_handler.errors import TooLarge, UnsupportedType

Size = tuple[int, int]
"""(width, height) in pixels."""

CORRUPT = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow raises of a damaged file."""


class Turn(NamedTuple):
    """What makes the stored pixels upright."""

    method: Image.Transpose | None = None
    swaps: bool = False
    """Rows become columns."""
    from_right: bool = False
    """Then its columns are counted from the right, and its rows from the bottom."""
    from_bottom: bool = False

    def of(self, size: Size) -> Size:
        """The upright picture's size from the stored one, and the other way round."""
        return size[::-1] if self.swaps else size


class Picture(NamedTuple):
    image: Image.Image
    """RGB, turned as the file is."""
    turn: Turn
    size: Size
    """Of the upright picture in the file, which the image may be a reduction of."""
    extent: tuple[float, float]
    """Width and height of the whole picture in the image's pixels: a reduction is rounded up, its last partly empty."""

    def upright(self) -> Image.Image:
        return self.image if self.turn.method is None else self.image.transpose(self.turn.method)


_BAND_PIXELS = 2**20
_MAX_EXIF = 2**20
"""Bytes; Pillow makes of each tag that is asked for an object a number."""
_ORIENTATION = 0x0112
_AS_STORED = Turn()
# EXIF orientation -> what turns the stored pixels upright (EXIF 2.32, table 4.6.4 A).
_TURNS = {
    2: Turn(Image.Transpose.FLIP_LEFT_RIGHT, from_right=True),
    3: Turn(Image.Transpose.ROTATE_180, from_right=True, from_bottom=True),
    4: Turn(Image.Transpose.FLIP_TOP_BOTTOM, from_bottom=True),
    5: Turn(Image.Transpose.TRANSPOSE, swaps=True),
    6: Turn(Image.Transpose.ROTATE_270, swaps=True, from_right=True),
    7: Turn(Image.Transpose.TRANSVERSE, swaps=True, from_right=True, from_bottom=True),
    8: Turn(Image.Transpose.ROTATE_90, swaps=True, from_bottom=True),
}


def read(
    image: Image.Image,
    enough: Callable[[Size], Size | None],
    before_load: Callable[[Size], None] = lambda _stored: None,
) -> Picture:
    """The first frame's picture; raises what is in CORRUPT, TooLarge and UnsupportedType.

    enough: size of the upright picture -> the least that it may be reduced to; None: it is wanted whole.
    before_load: told the size in the file, when the image has the size that it will be loaded at
    """
    if image.mode in ("I", "F"):
        raise UnsupportedType("the image has 32 bits per channel; convert it to 8 or 16")
    stored = image.size
    extent = _reduce(image, enough) if isinstance(image, JpegImageFile) else None
    before_load(stored)
    image.load()
    turn = _turn(image)
    pixels = _to_rgb(image)
    if extent is None:
        stored = extent = pixels.size
    return Picture(pixels, turn, turn.of(stored), extent)


def _reduce(image: JpegImageFile, enough: Callable[[Size], Size | None]) -> tuple[float, float] | None:
    """Let libjpeg decode at 1/2, 1/4 or 1/8; the width and height of the whole in its pixels, None: not reduced."""
    turn = _turn(image)
    least = enough(turn.of(image.size))
    drafted = image.draft(None, turn.of(least)) if least is not None else None
    if drafted is None:
        return None
    _mode, (_left, _top, wide, high) = drafted
    return wide, high


def _turn(image: Image.Image) -> Turn:
    if len(image.info.get("exif", b"")) > _MAX_EXIF:
        raise TooLarge(f"the image has more than {_MAX_EXIF} bytes of EXIF; leave it out")
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except CORRUPT:
        return _AS_STORED  # good pixels with broken metadata are still good pixels
    return _TURNS.get(orientation, _AS_STORED) if isinstance(orientation, int) else _AS_STORED


def _to_rgb(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I;16") and not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    # In bands of rows: whole copies in between would take more than twice the memory.
    rows = max(1, _BAND_PIXELS // image.width)
    if rows >= image.height:
        return _opaque(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        rgb.paste(_opaque(image.crop(box)), box)
    return rgb


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _eight_bit(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips 16-bit grey at 255: nearly everything would come out white.
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255  # onto white, as everywhere
    return Image.fromarray(grey)
