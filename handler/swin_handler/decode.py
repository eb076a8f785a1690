"""Encoded image (bytes) -> decoded RGB image -> timm's own resize and crop -> uint8 tensor (H, W, 3) and its region."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from swin_handler import region
from swin_handler.errors import TooLarge, Undecodable, UnsupportedType
from swin_handler.region import Region

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"RIFF", "WEBP"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
"""First bytes of the types that are taken. Pillow alone calls a corrupt header and a text file the same."""
TYPES = "JPEG, PNG, WebP, GIF, BMP or TIFF"

_ORIENTATION = 0x0112
# EXIF orientation -> what turns the stored pixels upright (EXIF 2.32, table 4.6.4 A).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CORRUPT = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Decoded(NamedTuple):
    pixels: torch.Tensor
    """The model's input, uint8 (H, W, 3)."""
    region: Region
    """What of the upright image it covers."""


class Decoder:
    """Turns one encoded image into the model's input; safe to call from many threads.

    `data_config` is timm's (input_size, interpolation, crop_pct, crop_mode, mean, std), read from the weights' own
    configuration. Raises TooLarge, UnsupportedType or Undecodable.
    """

    def __init__(self, data_config: Mapping[str, Any], *, max_pixels: int) -> None:
        # normalize=False: the same resize and crop, uint8 out; the engine normalises on the device.
        self._resize, self._crop, self._to_tensor = create_transform(**data_config, normalize=False).transforms
        self._max_pixels = max_pixels
        height, width = data_config["input_size"][-2:]
        self._input_size = (width, height)
        self._resized_edge = math.floor(max(height, width) / data_config["crop_pct"])
        self._scales_short_edge = data_config.get("crop_mode", "center") == "center"
        Image.init()  # registering the formats lazily is not thread-safe

    def __call__(self, data: bytes) -> Decoded:
        image = self.rgb(data)
        try:
            resized: Image.Image = self._resize(image)
            pixels: torch.Tensor = self._to_tensor(self._crop(resized))  # (3, H, W)
        except ValueError as error:
            raise Undecodable(f"the image cannot be resized for the model: {error}") from error
        # (H, W, 3) is the layout Pillow had, so nothing is copied.
        return Decoded(pixels.permute(1, 2, 0).contiguous(), region.of_centre_crop(resized.size, self._input_size))

    def rgb(self, data: bytes) -> Image.Image:
        """Upright, opaque RGB image of the first frame."""
        kind = _sniff(data)
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=(kind,))
            self._check_size(*image.size)
            image.load()
            return _to_rgb(_upright(image))
        except _BOMB as error:
            raise TooLarge(self._too_large("the image has")) from error
        except _CORRUPT as error:
            raise Undecodable(
                f"the {kind} image is truncated or corrupt; check that the whole file was sent"
            ) from error

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise TooLarge(self._too_large(f"the image is {width}×{height} and has"))
        # A thin strip is small on disk and in memory, until its short edge is scaled up to the model's.
        aspect = max(width, height) / max(1, min(width, height))
        if self._scales_short_edge and self._resized_edge**2 * aspect > self._max_pixels:
            raise TooLarge(self._too_large(f"the image is {width}×{height} and, resized for the model, would have"))

    def _too_large(self, subject: str) -> str:
        return f"{subject} more than {self._max_pixels:,} pixels; send it smaller"


def limit_pillow(max_pixels: int) -> None:
    """Let Pillow refuse, in this process, what turns out larger than its header said (Pillow's own advice)."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _sniff(data: bytes) -> str:
    if not data:
        raise Undecodable("the image is empty; send the bytes of the file")
    for signature, kind in SIGNATURES:
        if data.startswith(signature) and (kind != "WEBP" or data[8:12] == b"WEBP"):
            return kind
    raise UnsupportedType(f"this is not an image of a type that is taken; send {TYPES}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _CORRUPT:
        return image  # good pixels with broken metadata are still good pixels
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image.transpose(turn) if turn is not None else image


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
