"""What is added to the scores of a window's tokens: relative position bias and shift mask, merged.

Both depend on the weights and the sizes alone, so they are computed once, here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

_PARTED = -100.0
"""Added where two tokens of a rolled window come from different sides of the image, as the reference has it. It is no
infinity: V2's scores may differ by up to 200, so that a masked token can still count."""


def merged(
    table: torch.Tensor, size: Sequence[int], window: Sequence[int], shift: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The few distinct biases of a map's windows and which of them each window has.

    table: ((2·wh − 1)·(2·ww − 1), heads), the bias of each offset from key to query, rows first.
    Returns (types, heads, N, N) in float32, and (windows,) of long, windows in row-major order of the rolled map.
    """
    position = table[_offset_index(window)].permute(2, 0, 1)  # (heads, N, N)
    parts = [_parts(side, step, by) for side, step, by in zip(size, window, shift, strict=True)]
    # Two sides of the image meet in the last row and column of windows alone, so at most four types differ.
    parted, types = torch.unique(_parted(*parts), dim=0, return_inverse=True)  # (types, N, N), (windows,)
    return (position + _PARTED * parted[:, None]).contiguous(), types


def _offset_index(window: Sequence[int]) -> torch.Tensor:
    """(N, N) of query and key -> row of the table (arXiv 2103.14030, section 3.2, relative position bias)"""
    rows, columns = (place.flatten() for place in torch.meshgrid(*map(torch.arange, window), indexing="ij"))
    down = rows[:, None] - rows[None, :] + window[0] - 1
    right = columns[:, None] - columns[None, :] + window[1] - 1
    return down * (2 * window[1] - 1) + right


def _parts(side: int, window: int, shift: int) -> torch.Tensor:
    """(windows, window) along one axis of the rolled map: whether a place was rolled over the edge.

    As the reference has it, these are the last `shift` places of the padded map, whatever the padding moved there.
    """
    padded = math.ceil(side / window) * window
    return (torch.arange(padded) >= padded - shift).view(-1, window)


def _parted(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(vertical windows, wh), (horizontal windows, ww) -> (windows, N, N) of bool"""
    part = 2 * rows.long()[:, None, :, None] + columns.long()[None, :, None, :]  # one number for each of four parts
    part = part.reshape(len(rows) * len(columns), -1)
    return part[:, :, None] != part[:, None, :]


def cosine_table(attention: Any) -> torch.Tensor:
    """V2's table, 16·sigmoid(MLP(offsets)), from a timm WindowAttention; offsets are spaced by their logarithm.

    arXiv 2111.09883, equations 3 and 4. Offsets are divided by the window that the weights were trained with, so that
    the MLP meets a larger window as a continuation. In float32 and in timm's order, whose rounding V2 is judged by.
    """
    trained = attention.pretrained_window_size if attention.pretrained_window_size[0] > 0 else attention.window_size
    axes = []
    for window, reference in zip(attention.window_size, trained, strict=True):
        offsets = torch.arange(1 - window, window, dtype=torch.float32) / max(reference - 1, 1) * 8
        axes.append(offsets.sign() * (offsets.abs() + 1).log2() / math.log2(8))
    return 16 * torch.sigmoid(attention.cpb_mlp(torch.cartesian_prod(*axes)))
