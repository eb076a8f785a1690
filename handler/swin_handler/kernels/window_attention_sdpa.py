"""(Shifted-)window attention by PyTorch's scaled_dot_product_attention: windows join the heads, or the batch.

Its fused kernels take a mask only if every row of it starts at a multiple of 16 numbers, and copy it in each call
otherwise; `aligned` stores it that way once. Their flash kernel takes no mask at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from swin_handler.kernels import windows

_ALIGNMENT = 16


def sdpa_window_attention(
    qkv: torch.Tensor,
    bias: torch.Tensor,
    window_type: torch.Tensor | None,
    scale: torch.Tensor | None,
    window: Sequence[int],
    shift: Sequence[int],
    pad_qkv: torch.Tensor,
) -> torch.Tensor:
    """As `plain_window_attention`; fastest with the bias of each window looked up, `aligned` and in qkv's dtype."""
    q, k, v = windows.cut(qkv, bias.shape[1], scale, window, shift, pad_qkv)  # (B, windows, heads, N, d) each
    mask = (bias if window_type is None else bias[window_type]).to(qkv.dtype)
    # One bias for all windows: they join the batch. One for each: they join the heads.
    first, mask = (0, mask) if len(mask) == 1 else (1, mask.flatten(0, 1)[None])
    q, k, mixed = (each.flatten(first, first + 1) for each in (q, k, v))
    mixed = scaled_dot_product_attention(q, k, mixed, attn_mask=mask, scale=1.0)
    return windows.joined(mixed.reshape(v.shape), qkv.shape[1:3], window, shift)


def aligned(bias: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The same (windows, heads, N, N) in `dtype`, its rows stored at multiples of 16 numbers."""
    tokens = bias.shape[-1]
    return pad(bias.to(dtype), (0, -tokens % _ALIGNMENT))[..., :tokens]
