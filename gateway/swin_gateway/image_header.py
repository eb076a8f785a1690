"""The first bytes of an encoded image -> its type and size, without decoding and in bounded time.

Not Pillow, which walks every chunk of a PNG and every marker of a JPEG in Python: ten megabytes of empty ones, a legal
size, would hold the event loop for seconds. The worker decodes with Pillow and checks again.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

MAX_SEGMENTS = 1000
"""Chunks or markers before the pixels; files in use have some tens."""

Size = tuple[int, int]
"""(width, height) in pixels as stored, before any rotation"""

# Start-of-frame markers (ITU-T T.81, table B.1): 0xC0..0xCF but DHT, JPG and DAC.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MARKER = re.compile(rb"\xff[^\x00\xff]")
# Markers without a length: TEM and RST0..RST7.
BARE = frozenset({0x01, *range(0xD0, 0xD8)})


def image_type(content: bytes) -> str | None:
    """Pillow's name of the type that the first bytes announce; None if it is none we know."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in MAGIC if content.startswith(magic)), None)


def image_size(content: bytes, kind: str) -> Size:
    """Raises ValueError when the header is broken, ends early, or has more than MAX_SEGMENTS segments."""
    try:
        return READERS[kind](content)
    except (struct.error, IndexError):
        raise ValueError("it ends within its header") from None


def _png(content: bytes) -> Size:
    name, width, height = struct.unpack_from(">4sII", content, 12)
    if name != b"IHDR":
        raise ValueError("its first chunk is no IHDR")
    at = 8
    for _ in range(MAX_SEGMENTS):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IDAT":
            return width, height
        at += 12 + length  # length, name and checksum around the data
    raise ValueError(f"more than {MAX_SEGMENTS} chunks come before its pixels")


def _jpeg(content: bytes) -> Size:
    at = 2
    for _ in range(MAX_SEGMENTS):
        # Cameras and editors leave fill bytes and stray ones between segments; libjpeg skips them too.
        if (found := MARKER.search(content, at)) is None:
            break
        marker, at = content[found.end() - 1], found.end()
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 3)
            return width, height
        if marker not in BARE:
            at += struct.unpack_from(">H", content, at)[0]
    raise ValueError(f"no frame within its first {MAX_SEGMENTS} markers")


def _webp(content: bytes) -> Size:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    else:
        raise ValueError("its first chunk is unknown")
    if len(content) < 30:
        raise ValueError("it ends within its header")
    return width, height


def _gif(content: bytes) -> Size:
    width, height = struct.unpack_from("<HH", content, 6)
    return width, height


def _bmp(content: bytes) -> Size:
    (header,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", content, 18)
    return abs(width), abs(height)  # a negative height says that the rows run downwards


def _tiff(content: bytes) -> Size:
    order = "<" if content[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (entries,) = struct.unpack_from(f"{order}H", content, at)
    sides = {}
    for entry in range(at + 2, at + 2 + 12 * min(entries, MAX_SEGMENTS), 12):
        tag, kind = struct.unpack_from(f"{order}HH", content, entry)
        if tag in (256, 257):  # ImageWidth, ImageLength: SHORT or LONG
            (sides[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", content, entry + 8)
    if len(sides) != 2:
        raise ValueError("it names no size")
    return sides[256], sides[257]


MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
READERS: dict[str, Callable[[bytes], Size]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
}
