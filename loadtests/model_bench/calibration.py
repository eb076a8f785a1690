"""Images to calibrate int8 on: random ones, as the weights are; good enough to time, not to judge accuracy."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .subject import Subject

IMAGES = 16


def calibration_images(name: str, count: int = IMAGES) -> torch.Tensor:
    """float32 (count, 3, H, W), normalised"""
    return Subject.make(name, count).images


def calibration_pixels(name: str) -> torch.Tensor:
    """uint8 (IMAGES, H, W, 3): the same"""
    return Subject.make(name, IMAGES).pixels


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of a quantiser, which has its own."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
