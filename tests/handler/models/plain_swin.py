"""Swin V1 and V2 a second time, straight from the papers' formulas and as slow as they are plain: for comparison only.

No windows are cut out and nothing is rolled: attention runs over all tokens of a map, and a matrix says which of them
see each other. Takes the reference's arguments and checkpoints: (B, 3, H, W) -> (pooled features, logits).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import conv2d, gelu, layer_norm, linear, normalize

State = dict[str, torch.Tensor]


def forward(family: str, arch: dict[str, Any], state: State, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    patch = arch["patch_size"]
    x = conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch)  # (B, D, h, w)
    x = x.permute(0, 2, 3, 1)  # (B, h, w, D)
    if arch.get("patch_norm", True):
        x = _norm(x, state, "patch_embed.norm")
    if arch.get("ape", False):
        x = x + state["absolute_pos_embed"].view(1, *x.shape[1:])
    for stage, depth in enumerate(arch["depths"]):
        for block in range(depth):
            x = _block(family, arch, state, f"layers.{stage}.blocks.{block}", stage, x, shifted=block % 2 == 1)
        if stage < len(arch["depths"]) - 1:
            x = _merge(family, state, f"layers.{stage}.downsample", x)
    features = _norm(x, state, "norm").mean(dim=(1, 2))
    return features, linear(features, state["head.weight"], state["head.bias"])


def _block(
    family: str, arch: dict[str, Any], state: State, name: str, stage: int, x: torch.Tensor, *, shifted: bool
) -> torch.Tensor:
    height, width = x.shape[1:3]
    side = min(arch["window_size"], height, width)
    shift = side // 2 if shifted and min(height, width) > arch["window_size"] else 0
    heads = arch["num_heads"][stage]
    pretrained = (arch.get("pretrained_window_sizes") or [0] * len(arch["depths"]))[stage]

    def attention(tokens: torch.Tensor) -> torch.Tensor:
        flat = tokens.flatten(1, 2)  # (B, N, C)
        scores = _scores(family, arch, state, f"{name}.attn", flat, heads)
        bias = _bias(family, state, f"{name}.attn", side, pretrained)
        scores = scores + _spread(bias, (height, width), side, shift)
        values = (
            linear(flat, *_projection(family, state, f"{name}.attn", "v")).unflatten(-1, (heads, -1)).transpose(1, 2)
        )
        mixed = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
        mixed = linear(mixed, state[f"{name}.attn.proj.weight"], state[f"{name}.attn.proj.bias"])
        return mixed.view_as(tokens)

    def mlp(tokens: torch.Tensor) -> torch.Tensor:
        hidden = gelu(linear(tokens, state[f"{name}.mlp.fc1.weight"], state[f"{name}.mlp.fc1.bias"]))
        return linear(hidden, state[f"{name}.mlp.fc2.weight"], state[f"{name}.mlp.fc2.bias"])

    for number, layer in ((1, attention), (2, mlp)):
        norm = f"{name}.norm{number}"
        x = x + (layer(_norm(x, state, norm)) if family == "swin" else _norm(layer(x), state, norm))
    return x


def _scores(family: str, arch: dict[str, Any], state: State, name: str, flat: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, heads, N, N) before biases and softmax"""
    query, key = (
        linear(flat, *_projection(family, state, name, which)).unflatten(-1, (heads, -1)).transpose(1, 2)
        for which in "qk"
    )
    if family == "swin":
        scale = arch.get("qk_scale") or (flat.shape[-1] // heads) ** -0.5
        return query @ key.transpose(-1, -2) * scale
    temperature = state[f"{name}.logit_scale"].clamp(max=math.log(100)).exp()
    return normalize(query, dim=-1) @ normalize(key, dim=-1).transpose(-1, -2) * temperature


def _projection(family: str, state: State, name: str, which: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    index = "qkv".index(which)
    weight = state[f"{name}.qkv.weight"].chunk(3)[index]
    if family == "swin":
        bias = state.get(f"{name}.qkv.bias")
        return weight, None if bias is None else bias.chunk(3)[index]
    return weight, state.get(f"{name}.{which}_bias")


def _bias(family: str, state: State, name: str, side: int, pretrained: int) -> torch.Tensor:
    """(2M-1, 2M-1, heads): of each offset from query to key, rows first"""
    if family == "swin":
        return state[f"{name}.relative_position_bias_table"].view(2 * side - 1, 2 * side - 1, -1)
    offsets = torch.arange(1.0 - side, side) / ((pretrained or side) - 1) * 8
    logs = offsets.sign() * (offsets.abs() + 1).log2() / 3
    grid = torch.cartesian_prod(logs, logs).view(2 * side - 1, 2 * side - 1, 2)
    hidden = linear(grid, state[f"{name}.cpb_mlp.0.weight"], state[f"{name}.cpb_mlp.0.bias"]).relu()
    return 16 * linear(hidden, state[f"{name}.cpb_mlp.2.weight"]).sigmoid()


def _spread(bias: torch.Tensor, size: tuple[int, int], side: int, shift: int) -> torch.Tensor:
    """(heads, N, N): the offset's bias where two tokens share a window, 100 less where the image's edge parts them"""
    height, width = size
    rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
    window = together = torch.ones(height * width, height * width, dtype=torch.bool)
    offset = []
    for place, length in ((rows, height), (columns, width)):
        moved = (place - shift) % length
        window = window & (moved[:, None] // side == moved[None, :] // side)
        together = together & ((place[:, None] < shift) == (place[None, :] < shift))
        offset.append((moved[:, None] - moved[None, :]).clamp(1 - side, side - 1) + side - 1)
    spread = bias[offset[0], offset[1]].permute(2, 0, 1)
    return torch.where(together, spread, spread - 100).masked_fill(~window, -math.inf)


def _merge(family: str, state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    corners = [x[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    merged, weight = torch.cat(corners, dim=-1), state[f"{name}.reduction.weight"]
    if family == "swin":
        return linear(_norm(merged, state, f"{name}.norm"), weight)
    return _norm(linear(merged, weight), state, f"{name}.norm")


def _norm(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    return layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)
