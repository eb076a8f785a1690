"""Encoded image (bytes) -> decoded RGB image -> timm's resize and crop -> uint8 tensor (H, W, 3) and its region."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from PIL import Image

from swin_handler import picture
from swin_handler.errors import TooLarge, Undecodable, UnsupportedType
from swin_handler.picture import Picture
from swin_handler.region import Region
from swin_handler.resize import Resize

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

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Decoded(NamedTuple):
    pixels: torch.Tensor
    """The model's input, uint8 (H, W, 3)."""
    region: Region
    """What of the upright image it covers."""


class Decoder:
    """Turns one encoded image into the model's input; safe to call from many threads.

    `data_config` is timm's (input_size, interpolation, crop_pct, crop_mode, mean, std), read from the weights' own
    configuration. scaled: large JPEGs are decoded at a fraction and torch resizes; else the pixels are exactly timm's.
    Raises TooLarge, UnsupportedType or Undecodable.
    """

    def __init__(self, data_config: Mapping[str, Any], *, max_pixels: int, scaled: bool = True) -> None:
        self._resize = Resize(data_config, exact=not scaled)
        self._max_pixels = max_pixels
        self._resized_edge = math.floor(max(data_config["input_size"][-2:]) / data_config["crop_pct"])
        self._scales_short_edge = data_config.get("crop_mode", "center") == "center"
        Image.init()  # registering the formats lazily is not thread-safe

    def __call__(self, data: bytes) -> Decoded:
        read = self.picture(data)
        try:
            return Decoded(*self._resize(read))
        except ValueError as error:
            raise Undecodable(f"the image cannot be resized for the model: {error}") from error

    def picture(self, data: bytes) -> Picture:
        """The first frame, opaque; a large JPEG reduced, to twice what the model needs at least."""
        kind = _sniff(data)
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=(kind,))
            self._check_size(*image.size)
            return picture.read(image, self._resize.enough)
        except _BOMB as error:
            raise TooLarge(self._too_large("the image has")) from error
        except picture.CORRUPT as error:
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
