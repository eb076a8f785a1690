"""An image's bytes -> memory of this process that its workers read, so that they need not travel through TorchServe.

TorchServe would copy them four times, which costs more than all else that it does. The memory is anonymous files: no
folder has to hold them, nothing is left of them when this process dies, and only its own user can open them. Where a
container or a hardened kernel keeps processes of one user apart, a worker says so, and images are sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from swin_proto.worker.v1.job_pb2 import SharedImage

log = structlog.get_logger("image_memory")

SHARED_FROM = 8 * 2**10
"""Bytes from which it is worth it."""
KEPT_BYTES, KEPT = 2 * 2**20, 32
"""Files up to this size, and so many of them, are used again: new memory costs as much as what is written there."""


class ImageMemory:
    def __init__(self) -> None:
        self._idle: list[int] = []
        self.shared = hasattr(os, "memfd_create")
        """Whether workers can read it, as far as is known."""

    @contextmanager
    def holding(self, image: bytes) -> Iterator[SharedImage | None]:
        """Where `image` can be read meanwhile; None if it has to be sent."""
        if not self.shared or len(image) < SHARED_FROM:
            yield None
            return
        descriptor = self._idle.pop() if self._idle else None
        try:
            if descriptor is None:
                descriptor = os.memfd_create("swinserve-image", os.MFD_CLOEXEC)
            _write(descriptor, image)
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            log.warning("no memory for an image to be shared; TorchServe carries it", reason=str(error))
            yield None
            return
        try:
            yield SharedImage(descriptor=descriptor, size=len(image))
        finally:
            if len(image) <= KEPT_BYTES and len(self._idle) < KEPT:
                self._idle.append(descriptor)
            else:
                os.close(descriptor)

    def close(self) -> None:
        while self._idle:
            os.close(self._idle.pop())


def _write(descriptor: int, image: bytes) -> None:
    rest, at = memoryview(image), 0
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written
