"""What a backend makes: one forward pass of one batch bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch

from swin_handler.outputs import Outputs

Forward = Callable[[torch.Tensor], Outputs]
"""uint8 (bucket, H, W, 3) on the CPU -> Outputs, the logits on the CPU"""


@runtime_checkable
class Startable(Protocol):
    """A Forward of a device that works beside the CPU."""

    def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
        """As a call, but it returns at once, with what waits for the answer."""


class AnySize:
    """A Forward that also takes fewer images than its bucket has, so that none are added to fill it."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __call__(self, pixels: torch.Tensor) -> Outputs:
        return self.forward(pixels)
