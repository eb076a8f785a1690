"""Encoded image (bytes) -> decoded RGB image -> timm's resize and crop -> uint8 tensor (H, W, 3) and its region.

sniff the type → open the header → check frames, size, memory → wait for memory → load → resize
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from typing import Any, NamedTuple

import torch
from PIL import Image, PngImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from swin_handler import memory, picture, tiff, webp
from swin_handler.encoded_file import EncodedFile
from swin_handler.errors import ImageError, TooLarge, Undecodable, UnsupportedType
from swin_handler.limits import UNLIMITED, Limits
from swin_handler.picture import Picture, Size
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
"""First bytes of the types that are known. Pillow alone calls a corrupt header and a text file the same."""

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_LARGE_FILE = 2**20
"""Bytes of a file from which on one is opened at a time: Pillow may make objects of forty times its metadata."""
_PNG_TEXT = 4 * 2**20
"""Characters in all text chunks of a PNG, which may be compressed a thousandfold; Pillow's own limit is 64 Mi."""


class Decoded(NamedTuple):
    pixels: torch.Tensor
    """The model's input, uint8 (H, W, 3)."""
    region: Region
    """What of the upright image it covers."""


class Decoder:
    """Turns one encoded image into the model's input; safe to call from many threads.

    `data_config` is timm's (input_size, interpolation, crop_pct, crop_mode, mean, std), read from the weights' own
    configuration. scaled: large JPEGs are decoded at a fraction and torch resizes; else the pixels are exactly timm's.
    Raises TooLarge, UnsupportedType, Undecodable or Expired.
    """

    def __init__(
        self, data_config: Mapping[str, Any], *, max_pixels: int, scaled: bool = True, limits: Limits = UNLIMITED
    ) -> None:
        self._resize = Resize(data_config, exact=not scaled)
        self._max_pixels = max_pixels
        self._limits = limits
        self._resized_edge = math.floor(max(data_config["input_size"][-2:]) / data_config["crop_pct"])
        self._scales_short_edge = data_config.get("crop_mode", "center") == "center"
        self._opening = threading.Lock()
        Image.init()  # registering the formats lazily is not thread-safe

    def __call__(self, data: bytes, until: float | None = None) -> Decoded:
        """until: monotonic seconds after which nobody wants it; raises Expired where it has to wait longer than that"""
        with ExitStack() as held:
            try:
                return self._decode(data, held, until)
            except ImageError as error:
                # What led to it holds the picture, perhaps decoded in part, and would until a whole batch is answered.
                error.__cause__ = error.__context__ = None
                raise error.with_traceback(None) from None

    def picture(self, data: bytes) -> Picture:
        """The first frame, opaque; a large JPEG reduced, to twice what the model needs at least."""
        with ExitStack() as held:
            return self._read(data, held)

    def _decode(self, data: bytes, held: ExitStack, until: float | None) -> Decoded:
        read = self._read(data, held, until)
        try:
            return Decoded(*self._resize(read))
        except ValueError as error:
            raise Undecodable(f"the image cannot be resized for the model: {error}") from error

    def _read(self, data: bytes, held: ExitStack, until: float | None = None) -> Picture:
        """held: the memory it takes is given back with it"""
        kind = self._sniff(data)
        file = EncodedFile(data, is_jpeg=kind == "JPEG", seconds=self._limits.seconds)
        try:
            if kind == "TIFF":
                tiff.check(data, max_frames=self._limits.max_frames)
            with self._opening if len(data) > _LARGE_FILE else nullcontext():
                image: Image.Image = Image.open(file, formats=(kind,))
            self._check(image, kind)

            def wait_for_memory(stored: Size) -> None:
                size = memory.needed(image, file, kind=kind, stored=stored, resized=self._resize.resized(stored))
                size += webp.tables(data, *stored) if kind == "WEBP" else 0
                self._check_memory(size)
                held.enter_context(self._limits.memory.take(size, until=until))

            return picture.read(image, self._resize.enough, wait_for_memory)
        except _BOMB as error:
            raise TooLarge(self._too_large("the image has")) from error
        except picture.CORRUPT as error:
            raise Undecodable(
                f"the {kind} image is truncated or corrupt; check that the whole file was sent"
            ) from error

    def _check(self, image: Image.Image, kind: str) -> None:
        self._check_size(*image.size)
        if isinstance(image, TiffImageFile):
            tiff.check_compression(image.info["compression"])
            width, height = tiff.covered(image)
            if width * height > self._max_pixels:
                raise TooLarge(self._too_large(f"the tiles of the image are {width}×{height} together and have"))
        elif (frames := getattr(image, "n_frames", 1)) > self._limits.max_frames:
            raise TooLarge(f"the image has {frames} frames, more than {self._limits.max_frames}; send one of them")

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise TooLarge(self._too_large(f"the image is {width}×{height} and has"))
        # A thin strip is small on disk and in memory, until its short edge is scaled up to the model's.
        aspect = max(width, height) / max(1, min(width, height))
        if self._scales_short_edge and self._resized_edge**2 * aspect > self._max_pixels:
            raise TooLarge(self._too_large(f"the image is {width}×{height} and, resized for the model, would have"))

    def _check_memory(self, size: int) -> None:
        if size > self._limits.memory.total:
            mb, most = math.ceil(size / 2**20), self._limits.memory.total // 2**20
            raise TooLarge(f"the image takes {mb} MiB to decode, more than {most}; send it smaller")

    def _too_large(self, subject: str) -> str:
        return f"{subject} more than {self._max_pixels:,} pixels; send it smaller"

    def _sniff(self, data: bytes) -> str:
        if not data:
            raise Undecodable("the image is empty; send the bytes of the file")
        taken = self._limits.formats
        for signature, kind in SIGNATURES:
            if kind in taken and data.startswith(signature) and (kind != "WEBP" or data[8:12] == b"WEBP"):
                return kind
        raise UnsupportedType(f"this is not an image of a type that is taken; send {', '.join(taken)}")


def limit_pillow(max_pixels: int) -> None:
    """Let Pillow refuse, in this process, what turns out larger than its header said (Pillow's own advice)."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    PngImagePlugin.MAX_TEXT_MEMORY = _PNG_TEXT
    warnings.simplefilter("error", Image.DecompressionBombWarning)
