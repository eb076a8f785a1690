"""Encoded images for the tests, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def gradient(width: int = 80, height: int = 60) -> Image.Image:
    """An RGB image in which every corner differs."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def noise(width: int = 80, height: int = 60) -> Image.Image:
    """RGB noise: any mistake in a resize shows in it."""
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def jpeg(width: int = 80, height: int = 60) -> bytes:
    return encoded(gradient(width, height), "JPEG", quality=95)


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    """An 8-bit grey PNG that says it is width×height, whatever `data` (zlib-compressed scan lines) holds."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def one_colour_png(edge: int) -> bytes:
    """A true PNG of edge×edge black pixels, small because it compresses."""
    compressor = zlib.compressobj(1)
    row = bytes(edge + 1)
    body = b"".join(compressor.compress(row) for _ in range(edge)) + compressor.flush()
    return png_header(edge, edge, body)
