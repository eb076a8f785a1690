"""Layer norm as the inference form has it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import layer_norm


class Norm(nn.Module):
    """Layer norm over the last axis; without weight and bias where the next linear layer has taken them in."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(self, width: int, eps: float, weight: torch.Tensor | None, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.width = width
        self.eps = eps
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, (self.width,), self.weight, self.bias, self.eps)
