"""Nothing -> a PNG that any service takes, written without Pillow, which the plain install lacks."""

import struct
import zlib

import numpy as np

EDGE = 256


def png() -> bytes:
    """Coloured waves, 256×256, the same each time: about 30 kB."""
    y, x = np.mgrid[0:EDGE, 0:EDGE] / EDGE
    waves = [np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((3, 1), (1, 4), (5, 5))]
    pixels = ((np.stack(waves, axis=-1) + 1) * 127.5).astype(
        np.uint8
    ) & 0xE0  # (H, W, 3); coarse, so that it is as small as a photo of its size
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each after its filter: none
    header = struct.pack(">IIBBBBB", EDGE, EDGE, 8, 2, 0, 0, 0)  # 8 bits, RGB, no interlacing
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
