"""Encoded image (bytes) -> the file that Pillow reads it from, block by block; between two blocks it may be given up.

Pillow decodes what it has read before it reads on, so a look at the clock at each read interrupts what would take too
long. What one block of 64 KiB can cost is bounded: at most 66 MB of a PNG's or a GIF's pixels, and of a JPEG one scan,
since a block ends where a scan begins. A WebP and a compressed TIFF are one block each; they cost by their pixels.
"""

from __future__ import annotations

import io
import time

from swin_handler.errors import TooLarge

MAX_READS = 2**20
"""Of one image. Pillow keeps Python objects for each chunk, segment and comment, tens of times their bytes."""
MAX_SCANS = 100
"""Of a JPEG, each of which goes through all of its pixels; libtiff has the same limit. Files in use have about ten."""

_SCAN = b"\xff\xda"
_LONGEST_SEGMENT = 0xFFFF
"""Bytes of a JPEG's segment: who reads more at once reads pixels."""


class EncodedFile(io.BytesIO):
    """To be read by the thread that made it. Raises TooLarge from `read`."""

    def __init__(self, data: bytes, *, is_jpeg: bool = False, seconds: float) -> None:
        """seconds: of this thread's CPU time, so that a busy machine is no reason to refuse"""
        super().__init__(data)
        self._data = data
        self._is_jpeg = is_jpeg
        self._seconds = seconds
        self._until = time.thread_time() + seconds
        self._reads = 0
        self._scans = 0
        self.reached = 0
        """Bytes from the start that have been read."""

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise TooLarge("the image is in too many pieces; save it anew")
        if time.thread_time() > self._until:
            raise TooLarge(f"the image takes more than {self._seconds:g} s to decode; send it smaller")
        if self._is_jpeg and size is not None and size > _LONGEST_SEGMENT:
            size = self._to_next_scan(size)
        block = super().read(size)
        self.reached = max(self.reached, self.tell())
        return block

    def _to_next_scan(self, size: int) -> int:
        """Bytes from here up to where a scan begins, `size` at most."""
        at = self.tell()
        scan = self._data.find(_SCAN, at + 1, at + size)
        if scan < 0:
            return size
        self._scans += 1
        if self._scans > MAX_SCANS:
            raise TooLarge(f"the JPEG image has more than {MAX_SCANS} scans; save it anew")
        return scan - at

    def components_in_first_scan(self) -> int:
        """Of a JPEG that has been opened, that is read up to the end of its first scan's header; 0 if it has none."""
        at = self._data.rfind(_SCAN, 0, self.reached)
        return self._data[at + 4] if 0 <= at < self.reached - 4 else 0
