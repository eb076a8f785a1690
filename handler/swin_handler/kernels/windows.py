"""A map in image order <-> its windows, by rolling, padding and copying: for attention that takes whole matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize


def cut(
    qkv: torch.Tensor,
    heads: int,
    scale: torch.Tensor | None,
    window: Sequence[int],
    shift: Sequence[int],
    pad_qkv: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, H, W, 3·C) -> q, k, v, each (B, windows, heads, N, d), windows in row-major order of the rolled map.

    With a scale (heads,), q and k are of unit length and q is scaled (arXiv 2111.09883, equation 2).
    """
    qkv = _rolled_and_padded(qkv, window, shift, pad_qkv)
    batch, height, width, channels = qkv.shape
    rows, columns = height // window[0], width // window[1]
    depth = channels // (3 * heads)
    windows = qkv.view(batch, rows, window[0], columns, window[1], 3, heads, depth).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = windows.reshape(3, batch, rows * columns, heads, window[0] * window[1], depth)
    if scale is None:
        return q, k, v
    # In float32, rounded once: the scores are up to 100 times the cosine, and so is their rounding.
    q = (normalize(q.float(), dim=-1) * scale.view(-1, 1, 1)).to(qkv.dtype)
    return q, normalize(k.float(), dim=-1).to(qkv.dtype), v


def joined(mixed: torch.Tensor, size: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> torch.Tensor:
    """(B, windows, heads, N, d) -> (B, H, W, C): windows put together, without the padding, rolled back.

    size: H, W
    """
    batch, _, heads, _, depth = mixed.shape
    rows, columns = (-(-side // step) for side, step in zip(size, window, strict=True))
    x = mixed.view(batch, rows, columns, heads, window[0], window[1], depth)
    x = x.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, rows * window[0], columns * window[1], heads * depth)
    x = x[:, : size[0], : size[1]]
    return x.roll(tuple(shift), dims=(1, 2)) if any(shift) else x.contiguous()


def _rolled_and_padded(
    qkv: torch.Tensor, window: Sequence[int], shift: Sequence[int], pad_qkv: torch.Tensor
) -> torch.Tensor:
    """(B, H, W, 3·C) -> (B, H', W', 3·C) of whole windows"""
    if any(shift):
        qkv = qkv.roll((-shift[0], -shift[1]), dims=(1, 2))
    for axis in (1, 2):
        if missing := -qkv.shape[axis] % window[axis - 1]:
            shape = list(qkv.shape)
            shape[axis] = missing
            qkv = torch.cat([qkv, pad_qkv.expand(shape)], dim=axis)
    return qkv
