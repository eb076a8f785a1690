"""What libwebp builds of a lossless WebP beside its pixels: the tables of its Huffman codes."""

from __future__ import annotations

_LOSSLESS = (b"VP8L", b"ALPH")
"""Chunks that are coded so: a whole picture, or the transparency of a lossy one."""

_TILE = 4
"""Pixels along an edge of the smallest tiles that may have codes of their own: a group of five."""
_MOST_GROUPS = 2**16
_BITS_A_GROUP = 20
_BYTES_A_GROUP = 6 * 2**10
"""Of the shortest codes. A MiB of a file can become 2 GiB of them, but for _MOST_GROUPS."""
_MOST_BYTES_A_GROUP = 21 * 2**10
"""Of the longest, with a cache of 2048 colours (kTableSize of libwebp's huffman_utils.h)."""
_BYTES_A_BYTE = 100
"""That longer codes take more than the shortest, for each byte by which they are longer in the file."""


def tables(data: bytes, width: int, height: int) -> int:
    """Bytes, at worst."""
    if not any(name in data for name in _LOSSLESS):
        return 0
    tiles = -(-width // _TILE) * -(-height // _TILE)
    groups = min(_MOST_GROUPS, tiles, len(data) * 8 // _BITS_A_GROUP)
    return min(groups * _BYTES_A_GROUP + len(data) * _BYTES_A_BYTE, groups * _MOST_BYTES_A_GROUP)
