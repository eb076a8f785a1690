"""Raw RGB pixels -> the same pixels as a PNG that nothing is compressed in, which is what workers take.

So raw pixels are held to the limits of every other image, and the way to the worker has one kind of content.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

CHANNELS = 3
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">IIBBBBB")
"""Width, height, bits, colour type, compression, filter, interlacing."""
BITS, RGB = 8, 2
AS_IT_IS = b"\0"
"""The filter that each row names: none."""


def least_bytes(height: int, width: int) -> int:
    """A PNG of such pixels has more: these are its rows alone."""
    return height * (len(AS_IT_IS) + CHANNELS * width)


def png(pixels: memoryview, height: int, width: int) -> bytes:
    """pixels: uint8 (height, width, 3), as many bytes"""
    rows = np.empty((height, 1 + CHANNELS * width), np.uint8)
    rows[:, 0] = AS_IT_IS[0]
    # By numpy, because an image may be one pixel wide and millions high.
    rows[:, 1:] = np.frombuffer(pixels, np.uint8).reshape(height, CHANNELS * width)
    return b"".join(
        (
            SIGNATURE,
            *_chunk(b"IHDR", HEADER.pack(width, height, BITS, RGB, 0, 0, 0)),
            *_chunk(b"IDAT", zlib.compress(rows.data, level=0)),
            *_chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
