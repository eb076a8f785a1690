"""What one image gets: predictions, or the error in their place."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from swin_handler.errors import ImageError
from swin_handler.region import Region


@dataclass(frozen=True, eq=False)
class ActivationMaps:
    maps: torch.Tensor
    """float32 (classes, h, w) on the CPU, in the order of the predictions; the mean of each is its class's logit"""
    region: Region
    """What they cover of the image."""


@dataclass(frozen=True)
class Predictions:
    """Best first, indices and scores of the same length; scores are softmax probabilities."""

    indices: tuple[int, ...]
    scores: tuple[float, ...]
    embedding: torch.Tensor | None = None
    """float32 (D,) on the CPU: the pooled features before the head; None if nobody asked"""
    activation_maps: ActivationMaps | None = None
    """None if nobody asked"""


Result = Predictions | ImageError


def wire(values: torch.Tensor) -> bytes:
    """float32 on the CPU -> its bytes, little-endian, the last dimension fastest"""
    return values.numpy().astype("<f4", copy=False).tobytes()
