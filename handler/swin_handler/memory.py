"""What decoding an image takes at worst, and the budget that the threads which decode share.

Large images take turns, small ones flow: whoever finds too little left waits until others are done.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from PIL.Image import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from swin_handler import tiff
from swin_handler.encoded_file import EncodedFile
from swin_handler.errors import Expired
from swin_handler.picture import Size

_BYTES_A_PIXEL = {"JPEG": 12, "PNG": 12, "GIF": 12, "BMP": 12, "TIFF": 16, "WEBP": 20}
"""At worst, over a type's modes and the steps to the model's input, of which the most any has at one time.

12: Pillow's own 4 and, in the resize, a copy as a list of blocks, joined, and turned (3 each), or 4 each of upright,
resized in one direction; before that never more than Pillow's 4 beside the opaque copy's 4. TIFF: libtiff holds a
strip, of 8 bytes a pixel and perhaps the whole image, beside Pillow's 4 and a turned copy's 4. WebP: libwebp keeps two
canvases of 4 bytes beside all of the 12. tests/handler/test_memory.py measures them.
"""
_BYTES_A_COEFFICIENT = 2
_BYTES_A_RESIZED_PIXEL = 8
"""The resized picture before it is cropped, and a copy of it."""
_KEPT = 64 * 2**20
"""Bytes of an image that the allocator may keep for the thread's next; more is given back to the operating system."""


class MemoryBudget:
    """Bytes that several threads share."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._left = total
        self._freed = threading.Condition()

    @contextmanager
    def take(self, size: int, *, until: float | None = None) -> Iterator[None]:
        """Waits until `size` bytes, at most `total`, are left.

        Raises:
            Expired: that is not before `until`, in monotonic seconds.
        """
        with self._freed:
            timeout = None if until is None else max(0.0, until - time.monotonic())
            if not self._freed.wait_for(lambda: size <= self._left, timeout):
                raise Expired("the deadline passed while larger images were decoded")
            self._left -= size
        try:
            yield
        finally:
            if size > _KEPT:
                _malloc_trim()(0)
            with self._freed:
                self._left += size
                self._freed.notify_all()


def needed(image: Image, file: EncodedFile, *, kind: str, stored: Size, resized: Size) -> int:
    """Bytes that it takes to turn an opened image, not yet loaded, into the model's input.

    stored: its size in the file, which that of `image` may be a reduction of
    """
    loaded = tiff.covered(image) if isinstance(image, TiffImageFile) else image.size
    bytes_ = _BYTES_A_PIXEL[kind] * _pixels(loaded) + _BYTES_A_RESIZED_PIXEL * _pixels(resized)
    if isinstance(image, JpegImageFile) and _is_held_whole(image, file):
        bytes_ += _BYTES_A_COEFFICIENT * image.layers * _pixels(stored)
    return bytes_


@cache
def _malloc_trim() -> Callable[[int], object]:
    """glibc's, which else keeps what was freed, and for each thread its own: 16 that took turns had 5.7 GiB at last."""
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda _pad: None)


def _is_held_whole(image: JpegImageFile, file: EncodedFile) -> bool:
    """Whether libjpeg keeps the coefficients of all pixels, because they come in several scans."""
    return "progressive" in image.info or file.components_in_first_scan() < image.layers


def _pixels(size: Size) -> int:
    return size[0] * size[1]
