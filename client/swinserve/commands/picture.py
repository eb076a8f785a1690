"""An image's bytes, a class activation map (h, w) and its region -> PNG: the map in colours over the image."""

import io
import math
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from swinserve.results import Region

from .caption import captioned, scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from swinserve.arrays import Array

Box = tuple[int, int, int, int]
"""left, top, right, bottom, in pixels."""

# Evenly spaced on matplotlib's viridis (CC0): lightness rises evenly from low to high, also for the colour-blind.
VIRIDIS = ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")
COLOURS = np.array([list(bytes.fromhex(colour)) for colour in VIRIDIS], np.float32)  # (10, 3)
# What Pillow's decoders raise for files that are broken in one way or another.
CORRUPT = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
OPACITY = 0.55
DIMMED = 0.35
"""What is left of the light where no map is."""
SMALLEST = 320
"""Pixels of the longer edge; smaller images are enlarged by a whole number, so that there is something to see."""
CONTRAST = 1e-4
"""Of the map's largest value: differences up to it are float32's rounding, and stretched they would look like much."""


class Unreadable(Exception):
    """There is nothing to draw on, or nothing to draw; the message says what."""


def draw(image: bytes, activation_map: "Array", region: Region, caption: str) -> bytes:
    """The scale of the colours is put beside the caption.

    Raises Unreadable for an image that Pillow does not read, and for a map with values that are no numbers.
    """
    low, high = _range(activation_map)
    photo = _enlarged(upright(image))
    box = _inside(region, photo.size)
    picture = Image.eval(photo, lambda value: int(value * DIMMED))
    # In grey, so that every colour in the region is the map's.
    covered = photo.crop(box).convert("L").convert("RGB")
    picture.paste(Image.blend(covered, _coloured(activation_map, region, box, photo.size), OPACITY), box)
    png = io.BytesIO()
    captioned(picture, (" ".join(caption.split()), scale(low, high))).save(png, "PNG")
    return png.getvalue()


def upright(image: bytes) -> Image.Image:
    """RGB, turned as its EXIF orientation says, on white where it is transparent: what the service's model saw."""
    try:
        photo = ImageOps.exif_transpose(Image.open(io.BytesIO(image)))
        if photo.mode.startswith("I;16"):
            # Pillow's own conversion clips at 255: nearly everything would come out white.
            photo = Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))
        rgba = photo.convert("RGBA")
    except (*CORRUPT, Image.DecompressionBombError) as error:
        raise Unreadable(f"Pillow cannot read the image: {error}") from error
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _enlarged(photo: Image.Image) -> Image.Image:
    factor = math.ceil(SMALLEST / max(photo.size))
    # Pixels stay pixels: a smoothed enlargement would show a sharper image than the model had.
    return photo.resize((photo.width * factor, photo.height * factor), Image.Resampling.NEAREST)


def _inside(region: Region, size: tuple[int, int]) -> Box:
    """The pixels of the image that the region covers, one at least."""
    (left, right), (top, bottom) = (
        _span(low, high, edge)
        for low, high, edge in ((region.left, region.right, size[0]), (region.top, region.bottom, size[1]))
    )
    return left, top, right, bottom


def _span(low: float, high: float, edge: int) -> tuple[int, int]:
    start = min(max(round(low * edge), 0), edge - 1)
    return start, max(min(round(high * edge), edge), start + 1)


def _coloured(activation_map: "Array", region: Region, box: Box, size: tuple[int, int]) -> Image.Image:
    """The part of the map that lies on the image, as large as `box`, smooth."""
    heights = Image.fromarray(_heights(activation_map))
    part = _part(region, box, size, heights.size)
    smooth = heights.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC, part)
    # Bicubic swings a little beyond what it smooths.
    levels = (np.clip(np.asarray(smooth), 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(_palette()[levels])


def _heights(activation_map: "Array") -> "Array":
    """0 for the lowest cell to 1 for the highest; 0.5 everywhere if the map has no contrast."""
    low, high = _range(activation_map)
    if high - low <= CONTRAST * max(abs(low), abs(high)):
        return np.full_like(activation_map, 0.5)
    return ((activation_map.astype(np.float64) - low) / (high - low)).astype(np.float32)


def _range(activation_map: "Array") -> tuple[float, float]:
    low, high = float(activation_map.min()), float(activation_map.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Unreadable("the class activation map has values that are no numbers")
    return low, high


def _palette() -> "NDArray[np.uint8]":
    """256 colours, (256, 3), between the few that are written down."""
    places = np.linspace(0, len(COLOURS) - 1, 256)
    channels = [np.interp(places, np.arange(len(COLOURS)), channel) for channel in COLOURS.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _part(region: Region, box: Box, size: tuple[int, int], cells: tuple[int, int]) -> tuple[float, float, float, float]:
    """`box`, in pixels of the image, -> the same in cells of the map that covers the region."""
    x = [(side / size[0] - region.left) / (region.right - region.left) * cells[0] for side in (box[0], box[2])]
    y = [(side / size[1] - region.top) / (region.bottom - region.top) * cells[1] for side in (box[1], box[3])]
    # Whole pixels may lie a hair outside of the region, where there are no cells.
    left, right = (min(max(side, 0.0), float(cells[0])) for side in x)
    top, bottom = (min(max(side, 0.0), float(cells[1])) for side in y)
    return left, top, right, bottom
