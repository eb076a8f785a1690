"""timm's preprocessing of weights -> what it does, in pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Evaluation:
    """From an image of any size to the model's input."""

    mode: str
    """timm's crop_mode. center: the short side is resized; squash: both sides, the aspect is lost; border: the long
    side, and the rest is padded"""
    resized: tuple[int, int]
    """(height, width) in pixels that the resize aims at"""
    crop: tuple[int, int]
    """(height, width) in pixels of the model's input"""
    interpolation: str

    @classmethod
    def of(cls, data_config: Mapping[str, Any]) -> Self:
        """data_config: timm's input_size, crop_pct, crop_mode and interpolation"""
        height, width = data_config["input_size"][-2:]
        crop_pct = data_config["crop_pct"]
        # As timm.data.transforms_factory.transforms_imagenet_eval does.
        resized = math.floor(height / crop_pct), math.floor(width / crop_pct)
        return cls(data_config["crop_mode"], resized, (height, width), data_config["interpolation"])

    def __str__(self) -> str:
        """short side to 248 (bicubic), middle 224×224"""
        return f"{self._resize()} ({self.interpolation}){self._crop()}"

    def _resize(self) -> str:
        height, width = self.resized
        if self.mode == "squash":
            return f"squashed to {height}×{width}"
        if self.mode == "border":
            return f"fitted into {height}×{width}"
        return f"short side to {height}" if height == width else f"scaled to cover {height}×{width}"

    def _crop(self) -> str:
        height, width = self.crop
        if self.mode == "squash" and self.resized == self.crop:
            return ""
        return f", {'padded to' if self.mode == 'border' else 'middle'} {height}×{width}"


def normalisation(data_config: Mapping[str, Any]) -> str:
    """mean 0.485 0.456 0.406, std 0.229 0.224 0.225"""
    return ", ".join(f"{key} {' '.join(f'{number:.4g}' for number in data_config[key])}" for key in ("mean", "std"))
