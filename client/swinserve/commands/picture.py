"""An image's bytes, a class activation map (h, w) and its region -> PNG: the map in colours over the image."""

import io
import math
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from swinserve.results import Region

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
INK, PAPER = "white", (24, 24, 27)


class Unreadable(Exception):
    """There is nothing to draw on, or nothing to draw; the message says what."""


def draw(image: bytes, activation_map: "Array", region: Region, caption: str) -> bytes:
    """Raises Unreadable for an image that Pillow does not read, and for a map with values that are no numbers."""
    photo = _enlarged(upright(image))
    box = _inside(region, photo.size)
    picture = Image.eval(photo, lambda value: int(value * DIMMED))
    # In grey, so that every colour in the region is the map's.
    covered = photo.crop(box).convert("L").convert("RGB")
    picture.paste(Image.blend(covered, _coloured(activation_map, region, box, photo.size), OPACITY), box)
    png = io.BytesIO()
    _captioned(picture, " ".join(caption.split())).save(png, "PNG")
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
    """The part of the map that lies on the image, as large as `box`, smooth; its lowest dark, its highest bright."""
    low, high = activation_map.min(), activation_map.max()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Unreadable("the class activation map has values that are no numbers")
    heights = Image.fromarray((activation_map - low) / max(high - low, np.finfo(np.float32).tiny))
    part = _part(region, box, size, heights.size)
    smooth = heights.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC, part)
    # Bicubic swings a little beyond what it smooths.
    levels = (np.clip(np.asarray(smooth), 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(_palette()[levels])


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


def _captioned(picture: Image.Image, caption: str) -> Image.Image:
    """The caption under the picture; a long one is set smaller, and the canvas made wider before it would be cut."""
    size = max(14, picture.width // 22)
    room = picture.width - size
    size = max(12, min(size, int(size * room / _width(caption, size))))
    width, strip = max(picture.width, math.ceil(_width(caption, size)) + size), 2 * size
    canvas = Image.new("RGB", (width, picture.height + strip), PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    middle = (width / 2, picture.height + strip / 2)
    ImageDraw.Draw(canvas).text(middle, caption, INK, ImageFont.load_default(size), anchor="mm")
    return canvas


def _width(text: str, size: int) -> float:
    return ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, ImageFont.load_default(size))
