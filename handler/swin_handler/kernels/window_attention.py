"""qkv in image order (B, H, W, 3·C) -> (shifted-)window attention's output in image order (B, H, W, C).

`window_attention` is a custom operator, so that a kernel which turns rolling, padding and cutting windows into address
arithmetic can stand in for all of them; `plain_window_attention` is its twin in plain PyTorch: what the operator does
on a CPU, what its kernels are held against, and the better choice wherever a compiler fuses what is around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from swin_handler.kernels import windows


def plain_window_attention(
    qkv: torch.Tensor,
    bias: torch.Tensor,
    window_type: torch.Tensor | None,
    scale: torch.Tensor | None,
    window: Sequence[int],
    shift: Sequence[int],
    pad_qkv: torch.Tensor,
) -> torch.Tensor:
    """Multi-head self-attention within windows of a map that is rolled by `shift` (arXiv 2103.14030, section 3.2).

    qkv: (B, H, W, 3·C), the last axis as (3, heads, d). Rolled up and to the left by `shift`, then padded below and on
    the right to whole windows, with `pad_qkv` (3·C,) as what padding is projected to; it is attended to like the map.
    bias: (types, heads, N, N), added to the scores: relative position bias and shift mask in one. `window_type`
    (windows,), in row-major order of the rolled map, says which of them each window takes; None: the first serves all
    windows, or there is one for each.
    scale: (heads,) for cosine attention (arXiv 2111.09883, equation 2); None: q is scaled already.
    """
    heads, tokens = bias.shape[1:3]
    q, k, v = windows.cut(qkv, heads, None, window, shift, pad_qkv)  # (B, windows, heads, N, d) each
    if scale is not None:
        q, k = (normalize(each.float(), dim=-1).to(qkv.dtype) for each in (q, k))
    scores = torch.bmm(q.flatten(0, 2), k.flatten(0, 2).transpose(1, 2)).view(*q.shape[:4], tokens)
    if scale is not None:
        # Not folded into q: in float32 it must round as timm does, see the patch embedding.
        scores = scores * scale.view(-1, 1, 1)
    scores = scores + (bias if window_type is None else bias[window_type])
    weights = scores.softmax(dim=-1).to(qkv.dtype)
    mixed = torch.bmm(weights.flatten(0, 2), v.flatten(0, 2)).view(v.shape)
    return windows.joined(mixed, qkv.shape[1:3], window, shift)


@torch.library.custom_op("swinserve::window_attention", mutates_args=(), device_types="cpu")
def window_attention(
    qkv: torch.Tensor,
    bias: torch.Tensor,
    window_type: torch.Tensor,
    scale: torch.Tensor | None,
    window: Sequence[int],
    shift: Sequence[int],
    pad_qkv: torch.Tensor,
) -> torch.Tensor:
    """As `plain_window_attention`, in one operator; a kernel for another kind of device registers itself."""
    return plain_window_attention(qkv, bias, window_type, scale, window, shift, pad_qkv)


@window_attention.register_fake
def _(qkv: torch.Tensor, *_rest: object) -> torch.Tensor:
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
