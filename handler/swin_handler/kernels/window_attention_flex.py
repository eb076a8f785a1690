"""(Shifted-)window attention by PyTorch's FlexAttention, which torch.compile turns into a kernel that adds the bias.

Not compiled it is exact and slow: it keeps all scores in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.attention.flex_attention import FlexKernelOptions, flex_attention

from swin_handler.kernels import windows

# Fewer than 128 queries would otherwise go to the kernel for decoding, which splits the few keys there are.
_KERNEL: FlexKernelOptions = {"FORCE_USE_FLEX_ATTENTION": True}
_ONE_BLOCK = 64
"""Windows of up to that many tokens fill one block of queries and keys; its own choice would be twice as large."""


def flex_window_attention(
    qkv: torch.Tensor,
    bias: torch.Tensor,
    window_type: torch.Tensor | None,
    scale: torch.Tensor | None,
    window: Sequence[int],
    shift: Sequence[int],
    pad_qkv: torch.Tensor,
) -> torch.Tensor:
    """As `plain_window_attention`."""
    heads, tokens = bias.shape[1:3]
    q, k, v = windows.cut(qkv, heads, scale, window, shift, pad_qkv)  # (B, windows, heads, N, d) each
    types = _types(bias, window_type, q.shape[1])

    def with_bias(
        score: torch.Tensor, _image: torch.Tensor, row: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        return score + bias[types[row // heads], row % heads, query, key]

    options: FlexKernelOptions = {**_KERNEL}
    if tokens <= _ONE_BLOCK:
        options |= {"BLOCK_M": _ONE_BLOCK, "BLOCK_N": _ONE_BLOCK}
    mixed = flex_attention(
        q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), score_mod=with_bias, scale=1.0, kernel_options=options
    )
    return windows.joined(mixed.reshape(v.shape), qkv.shape[1:3], window, shift)


def _types(bias: torch.Tensor, window_type: torch.Tensor | None, count: int) -> torch.Tensor:
    """(windows,): the row of `bias` that each window takes"""
    if window_type is not None:
        return window_type
    return torch.arange(count, device=bias.device) % len(bias)
