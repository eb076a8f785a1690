"""Pixels -> tokens: uint8 (B, H, W, 3) -> float32 (B, h, w, C), normalisation included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import linear

from swin_handler.models.norm import Norm


class Normalisation(nn.Module):
    """Pixels (B, H, W, 3) -> normalised, in float32, step by step as torchvision does it."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().div(255).sub(self.mean).div(self.std)


class PatchEmbedding(nn.Module):
    """uint8 (B, H, W, 3) -> float32 (B, h, w, C): one product of each patch's ph·pw·3 pixels with a matrix.

    Raw pixels with `weight` and `bias`; or, while there is a `reference`, normalised pixels with those of timm. The two
    are equally exact, but the second rounds as timm does. By the time its tokens are logits, V2 has made forty times
    as much of a difference between them: more than a float32 model is allowed, where timm's own rounding comes to that.
    """

    weight: torch.Tensor
    """(C, ph·pw·3), pixels as (row, column, channel); divides by 255·std"""
    bias: torch.Tensor
    """(C,), subtracts mean/std"""
    position: torch.Tensor | None
    """(h·w, C), the absolute position embedding"""

    def __init__(
        self,
        *,
        weight: torch.Tensor,
        bias: torch.Tensor,
        reference: nn.Sequential | None,
        patch_size: tuple[int, int],
        norm: Norm | None,
        position: torch.Tensor | None,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.reference = reference
        """Normalisation, then a linear layer whose inputs are ordered as those of `weight`."""
        self.patch_size = patch_size
        self.norm = norm
        self.register_buffer("position", position)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.reference is None:
            x = linear(self._patches(pixels).float(), self.weight, self.bias)
        else:
            normalise, project = self.reference
            x = project(self._patches(normalise(pixels)))
        x = x if self.norm is None else self.norm(x)
        return x if self.position is None else x + self.position.view(*x.shape[1:])

    def _patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) -> (B, h, w, ph·pw·3), without the rows and columns that fill no patch"""
        ph, pw = self.patch_size
        batch, height, width, channels = pixels.shape
        h, w = height // ph, width // pw
        x = pixels[:, : h * ph, : w * pw].reshape(batch, h, ph, w, pw, channels)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, h, w, ph * pw * channels)
