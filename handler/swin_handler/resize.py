"""timm's preprocessing of weights, upright RGB picture -> the model's input (H, W, 3), and the region it covers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PIL import Image
from timm.data.transforms_factory import create_transform

from swin_handler import region
from swin_handler.picture import Box, Picture, Size
from swin_handler.region import Region

_MARGIN = 2
"""A reduced picture has at least so many pixels for each one after the resize, along either edge."""
_SMOOTH = ("bilinear", "bicubic", "lanczos")
"""Interpolations that a box may be used with: it has float32 corners, and these do not jump when one moves a little."""
_REACH = 3
"""Pixels after the resize from which the widest of them, Lanczos, takes its values, to either side."""


class Resize:
    """timm's resize and crop at once: what the crop leaves out is never computed.

    A crop that pads or follows a squash, and interpolations that are not smooth, are left to timm's own transforms.
    """

    def __init__(self, data_config: Mapping[str, Any], *, exact: bool = False) -> None:
        """data_config: timm's input_size, interpolation, crop_pct, crop_mode, mean and std

        exact: leave everything to timm's own transforms.
        """
        self._resize, self._crop, _ = create_transform(**data_config, normalize=False).transforms
        height, width = data_config["input_size"][-2:]
        self._input_size: Size = (width, height)
        crop_pct = data_config["crop_pct"]
        self._aim = math.floor(width / crop_pct), math.floor(height / crop_pct)
        mode = data_config.get("crop_mode")
        self._mode = mode if mode in ("squash", "border") else "center"
        interpolation = data_config["interpolation"]
        ours = interpolation in _SMOOTH and not exact
        self._filter = Image.Resampling[interpolation.upper()] if ours else None

    def resized(self, full: Size) -> Size:
        """What timm's resize makes of a picture of that size, before the crop."""
        if self._mode == "squash":
            return self._aim
        (width, height), (wide, high) = full, self._aim
        if self._mode == "center" and wide == high:  # torchvision's Resize: it cuts off what timm's own rounds
            short = min(full)
            return int(wide * width / short), int(wide * height / short)
        ratio = (max if self._mode == "border" else min)(width / wide, height / high)
        return round(width / ratio), round(height / ratio)

    def enough(self, full: Size) -> Size | None:
        """The least size that such a picture may be reduced to; None: it must be whole."""
        if not self._is_ours(full):
            return None
        width, height = self.resized(full)
        return _MARGIN * width, _MARGIN * height

    def __call__(self, picture: Picture) -> tuple[Image.Image, Region]:
        """Raises ValueError where timm's resize leaves nothing of an edge."""
        if self._filter is None or not self._is_ours(picture.size):
            resized: Image.Image = self._resize(picture.image)
            return self._crop(resized), region.of_centre_crop(resized.size, self._input_size)
        covered = region.of_centre_crop(self.resized(picture.size), self._input_size)
        if self._mode == "squash":
            return picture.image.resize(self._input_size, self._filter, box=picture.frame), covered
        return _cut(picture.image, self._input_size, self._filter, _within(picture.frame, covered)), covered

    def _is_ours(self, full: Size) -> bool:
        """Whether a picture of that size is resized and cropped at once."""
        if self._filter is None:
            return False
        resized = self.resized(full)
        if self._mode == "squash":
            return resized == self._input_size
        return all(crop <= edge for crop, edge in zip(self._input_size, resized, strict=True))


def _cut(image: Image.Image, size: Size, resample: Image.Resampling, box: Box) -> Image.Image:
    """Columns first, as Pillow resizes a whole image to its own aspect. Left to itself it may take rows first for a box
    (from Pillow 13 on), and what lies between the passes is rounded.
    """
    left, top, right, bottom = box
    width, height = size
    reach = _REACH * max(1, (bottom - top) / height)
    first, last = max(0, math.floor(top - reach)), min(image.height, math.ceil(bottom + reach))
    rows = image.crop((0, first, image.width, last))
    across = rows.resize((width, rows.height), resample, box=(left, 0, right, rows.height))
    return across.resize(size, resample, box=(0, top - first, width, bottom - first))


def _within(frame: Box, part: Region) -> Box:
    left, top, right, bottom = frame
    width, height = right - left, bottom - top
    return left + part.left * width, top + part.top * height, left + part.right * width, top + part.bottom * height
