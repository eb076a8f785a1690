"""Arguments of window attention: windows of every size in use, shifted and not, square and not, padded, V1 and V2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from swin_handler.models.window_bias import merged


@dataclass(frozen=True)
class Case:
    size: tuple[int, int]
    """Of the map, in tokens."""
    window: tuple[int, int]
    shift: tuple[int, int] = (0, 0)
    cosine: bool = False
    heads: int = 2
    depth: int = 32
    batch: int = 3

    def arguments(self, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        """Random, with scores as far apart as the model family's are; bias and scale in float32, as in a model."""
        generator = torch.Generator().manual_seed(5)
        table = torch.randn((2 * self.window[0] - 1) * (2 * self.window[1] - 1), self.heads, generator=generator)
        bias, window_type = merged(table, self.size, self.window, self.shift)
        channels = 3 * self.heads * self.depth
        qkv = torch.randn(self.batch, *self.size, channels, generator=generator)
        pad_qkv = torch.randn(channels, generator=generator)
        # 100 is the largest scale: with it a token behind the mask's −100 can still have the highest score.
        scale = torch.linspace(10, 100, self.heads) if self.cosine else None
        if not self.cosine:
            qkv[..., : channels // 3] *= self.depth**-0.5
        return qkv.to(dtype), bias, window_type, scale, self.window, self.shift, pad_qkv.to(dtype)


def _in_use(window: int, *, cosine: bool, shifted: bool, square: bool) -> Case:
    """The smallest map that has it all: where the map is one window high, nothing is to be shifted downwards."""
    high, wide = (2, 2) if shifted and square else (1, 1 if square else 2)
    shift = window // 2 if shifted else 0
    return Case(
        (high * window, wide * window), (window, window), (shift if high > 1 else 0, shift), cosine,
        heads=1, depth=16, batch=1,
    )  # fmt: skip


IN_USE = {
    f"window {window}, V{1 + cosine}, {'shifted' if shifted else 'in place'}, {'square' if square else 'wide'} map":
        _in_use(window, cosine=cosine, shifted=shifted, square=square)
    for window in (7, 8, 12, 16)
    for cosine in (False, True)
    for shifted in (False, True)
    for square in (True, False)
}  # fmt: skip
"""Every window of a released model, in every kind of block."""
CASES = IN_USE | {
    "window 7": Case((14, 14), (7, 7)),
    "window 7, shifted": Case((14, 14), (7, 7), (3, 3)),
    "window 7, wide, shifted": Case((14, 21), (7, 7), (3, 3)),
    "window 7, padded": Case((13, 9), (7, 7)),
    "window 7, padded, shifted": Case((13, 16), (7, 7), (3, 3)),
    "window 7, shifted downwards alone": Case((14, 7), (7, 7), (3, 0)),
    "window 8, V2": Case((16, 16), (8, 8), cosine=True),
    "window 8, V2, shifted": Case((16, 24), (8, 8), (4, 4), cosine=True),
    "window 8, V2, padded, shifted": Case((15, 18), (8, 8), (4, 4), cosine=True),
    "window 12, tall, shifted": Case((24, 12), (12, 12), (6, 0), heads=1, batch=1),
    "window 16, tall, V2, shifted": Case((32, 16), (16, 16), (8, 0), cosine=True, heads=1, batch=1),
    "window 16, padded": Case((17, 16), (16, 16), heads=1, batch=1),
    "window 4 by 2, narrow heads": Case((8, 6), (4, 2), (2, 1), heads=3, depth=12),
    "V2 whose mask is outweighed": Case((8, 8), (4, 4), (2, 2), cosine=True, depth=2),
}
