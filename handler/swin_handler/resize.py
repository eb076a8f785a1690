"""timm's preprocessing of weights, RGB picture -> the model's input, uint8 (H, W, 3), and the region it covers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import center_crop

from swin_handler import region
from swin_handler.picture import Picture, Size
from swin_handler.region import Region

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
        width, height = self.resized(picture.size)
        upright = self._upright(picture, width, height)
        cropped: Tensor = center_crop(upright, [self._input_size[1], self._input_size[0]])
        return cropped.permute(1, 2, 0).contiguous(), region.of_centre_crop((width, height), self._input_size)

    def _upright(self, picture: Picture, width: int, height: int) -> Tensor:
        """uint8 (3, height, width); mirrored last, as the last pixels of a reduction are partly empty."""
        pixels, turn, (wide, high) = torch.from_numpy(np.array(picture.image)), picture.turn, picture.extent
        if turn.swaps:
            pixels, wide, high = pixels.transpose(0, 1).contiguous(), high, wide
        resized = interpolate(
            pixels.permute(2, 0, 1)[None],
            scale_factor=(height / high * _UP, width / wide * _UP),
            mode=self._interpolation,
            antialias=True,
        )[0, :, :height, :width]
        mirrored = [dim for dim, flip in ((1, turn.from_bottom), (2, turn.from_right)) if flip]
        return resized.flip(mirrored) if mirrored else resized

    def _is_ours(self, full: Size) -> bool:
        """Whether torch resizes a picture of that size."""
        if self._exact:
            return False
        return all(crop <= edge for crop, edge in zip(self._input_size, self.resized(full), strict=True))
