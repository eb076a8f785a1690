"""Size after the resize, size of the crop -> what the crop covers of the upright image."""

from __future__ import annotations

from typing import NamedTuple


class Region(NamedTuple):
    """A rectangle in fractions of the upright image's width and height; beyond 0..1 lies padding."""

    left: float
    top: float
    right: float
    bottom: float


def of_centre_crop(resized: tuple[int, int], crop: tuple[int, int]) -> Region:
    """resized and crop: (width, height) in pixels; the crop is torchvision's CenterCrop or timm's CenterCropOrPad."""
    (left, right), (top, bottom) = map(_span, resized, crop)
    return Region(left, top, right, bottom)


def _span(resized: int, crop: int) -> tuple[float, float]:
    # Both round so: a crop's start to the nearest pixel, a padding's down.
    start = round((resized - crop) / 2) if crop <= resized else -((crop - resized) // 2)
    return start / resized, (start + crop) / resized
