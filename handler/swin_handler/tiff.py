"""The directories of a TIFF, looked at before Pillow makes Python objects of each number in them."""

from __future__ import annotations

import math
import struct

from PIL.TiffImagePlugin import TiffImageFile

from swin_handler.errors import TooLarge, UnsupportedType
from swin_handler.picture import Size

TILEWIDTH, TILELENGTH = 322, 323

COMPRESSIONS = frozenset(
    {"raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg", "tiff_ccitt", "group3", "group4"}
)
"""Pillow's names of those taken. The others that libtiff knows are rare, and some take memory as the file wishes."""
MAX_ENTRIES = 2**16
"""Of all directories together; they may overlap in the file."""
MAX_NUMBERS = 2**16
"""In the tags of one directory, such as the offsets of its strips."""

_TEXT = frozenset({1, 2, 6, 7})
"""Types of tags that stay bytes: BYTE, ASCII, SBYTE, UNDEFINED."""


def check(data: bytes, *, max_frames: int) -> None:
    """Raises TooLarge, or struct.error for a file that ends early."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    frames = seen = 0
    while at:
        (entries,) = struct.unpack_from(f"{order}H", data, at)
        frames, seen = frames + 1, seen + entries
        if frames > max_frames:
            raise TooLarge(f"the image has more than {max_frames} frames; send one of them")
        if seen > MAX_ENTRIES:
            raise TooLarge(f"the image has more than {MAX_ENTRIES} tags; save it anew")
        directory = struct.unpack_from(f"{order}{'HHI4x' * entries}I", data, at + 2)
        kinds, counts = directory[1:-1:3], directory[2:-1:3]
        if sum(count for kind, count in zip(kinds, counts, strict=True) if kind not in _TEXT) > MAX_NUMBERS:
            raise TooLarge(f"the image's tags have more than {MAX_NUMBERS} numbers; save it anew")
        at = directory[-1]


def check_compression(name: str) -> None:
    """name: Pillow's. Raises UnsupportedType."""
    if name not in COMPRESSIONS:
        raise UnsupportedType(f"TIFF images compressed by {name} are not taken; convert it to LZW or none")


def covered(image: TiffImageFile) -> Size:
    """The size of all its tiles together, which are decoded whole, however little of them is in the image.

    Raises ValueError where they have none.
    """
    width, height = image.size
    tile_width, tile_height = (image.tag_v2.get(tag) for tag in (TILEWIDTH, TILELENGTH))
    if tile_width is None and tile_height is None:
        return image.size  # in strips, of which the last ends with the image
    return _rounded_up(width, tile_width), _rounded_up(height, tile_height)


def _rounded_up(length: int, tile: object) -> int:
    if not isinstance(tile, int) or tile <= 0:
        raise ValueError(f"a tile of {tile!r}")
    return math.ceil(length / tile) * tile
