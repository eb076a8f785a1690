"""timm's preprocessing of weights, RGB picture -> the model's input, uint8 (H, W, 3), and the region it covers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.nn.functional import interpolate

from swin_handler import region
from swin_handler.picture import Picture, Size
from swin_handler.region import Region

Pixels = NDArray[np.uint8]

_MARGIN = 2
"""A reduced picture has at least so many pixels for each one after the resize, along either edge."""
_OURS = ("bilinear", "bicubic")
"""Interpolations that torch has, with antialiasing as Pillow does it; its kernels use the CPU's vector unit."""
_UP = 1 + 1e-9
"""torch rounds a scaled size down: an edge must not lose a pixel to the rounding of the scale."""


class Resize:
    """timm's resize and crop, by torch, of pictures that may be reduced.

    Left to timm's own transforms, which use Pillow: a crop that pads; interpolations that torch lacks; a squash, where
    Pillow may take the rows before the columns (from 13 on), and what lies between the passes is rounded.
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
        self._mode = data_config.get("crop_mode")
        self._interpolation = data_config["interpolation"]
        self._exact = exact or self._interpolation not in _OURS or self._mode == "squash"

    def resized(self, full: Size) -> Size:
        """What timm's resize makes of a picture of that size before the crop, where it keeps its aspect."""
        (width, height), (wide, high) = full, self._aim
        if self._mode != "border" and wide == high:  # torchvision's Resize: it cuts off what timm's own rounds
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

    def __call__(self, picture: Picture) -> tuple[Tensor, Region]:
        """Raises ValueError where timm's resize leaves nothing of an edge."""
        if not self._is_ours(picture.size):
            resized = self._resize(picture.upright())
            pixels = torch.from_numpy(np.array(self._crop(resized)))
            return pixels, region.of_centre_crop(resized.size, self._input_size)
        size = self.resized(picture.size)
        cropped = _centre(self._upright(picture, *size), self._input_size)
        return torch.from_numpy(np.ascontiguousarray(cropped)), region.of_centre_crop(size, self._input_size)

    def _upright(self, picture: Picture, width: int, height: int) -> Pixels:
        """(height, width, 3); mirrored last, as the last pixels of a reduction are partly empty."""
        # Copied and turned by NumPy: torch would start a team of threads for it in each of the pool's threads.
        pixels, turn, (wide, high) = np.array(picture.image), picture.turn, picture.extent
        if turn.swaps:
            pixels, wide, high = np.ascontiguousarray(pixels.swapaxes(0, 1)), high, wide
        resized = interpolate(
            torch.from_numpy(pixels).permute(2, 0, 1)[None],
            scale_factor=(height / high * _UP, width / wide * _UP),
            mode=self._interpolation,
            antialias=True,
        )
        upright: Pixels = resized[0].permute(1, 2, 0).numpy()[:height, :width]
        return upright[:: -1 if turn.from_bottom else 1, :: -1 if turn.from_right else 1]

    def _is_ours(self, full: Size) -> bool:
        """Whether torch resizes a picture of that size."""
        if self._exact:
            return False
        return all(crop <= edge for crop, edge in zip(self._input_size, self.resized(full), strict=True))


def _centre(pixels: Pixels, size: Size) -> Pixels:
    """As torchvision's CenterCrop, and `region.of_centre_crop`, round it."""
    width, height = size
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]
