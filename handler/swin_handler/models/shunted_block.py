"""One block of the Shunted Transformer: tokens (B, N, C) of a map (height, width) -> tokens (B, N, C)

In each attention half of the heads see keys merged by the stage's sr ratio, half by half of it: large and small objects
in one layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from swin_handler.models.checkpoint import CheckpointMismatch

NormLayer = Callable[[int], nn.Module]


class Mlp(nn.Module):
    """fc2(GELU(y + dwconv(y))) with y = fc1(x): the feed-forward layer that also looks at its 3×3 neighbours."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)})
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        x = self.fc1(x)  # (B, N, hidden)
        detail = self.dwconv["dwconv"](to_map(x, size))
        return self.fc2(self.act(x + to_tokens(detail)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Shunted self-attention; with sr_ratio 1 plain attention with a local detail term."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool, qk_scale: float | None, sr_ratio: int) -> None:
        super().__init__()
        if sr_ratio != 1 and sr_ratio % 2:
            raise CheckpointMismatch(f"sr_ratio must be 1 or even, not {sr_ratio}: half the heads merge by half of it")
        if dim % num_heads or (sr_ratio > 1 and num_heads % 2):
            raise CheckpointMismatch(f"{dim} channels cannot be split over {num_heads} heads in two groups")
        self.num_heads = num_heads
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        self.sr_ratio = sr_ratio
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        if sr_ratio == 1:
            self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
            self.local_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            return
        self.act = nn.GELU()
        for group, ratio in ((1, sr_ratio), (2, sr_ratio // 2)):
            self.add_module(f"sr{group}", nn.Conv2d(dim, dim, ratio, stride=ratio))
            self.add_module(f"norm{group}", nn.LayerNorm(dim))
            self.add_module(f"kv{group}", nn.Linear(dim, dim, bias=qkv_bias))
            self.add_module(f"local_conv{group}", nn.Conv2d(dim // 2, dim // 2, 3, padding=1, groups=dim // 2))

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        q = _heads(self.q(x), self.num_heads)  # (B, heads, N, d)
        return self.proj(self._global(x, q, size) if self.sr_ratio == 1 else self._shunted(x, q, size))  # type: ignore[no-any-return]

    def _global(self, x: torch.Tensor, q: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        k, v = self.kv(x).chunk(2, dim=-1)  # (B, N, C)
        attended = self._attend(q, _heads(k, self.num_heads), _heads(v, self.num_heads))
        return attended + to_tokens(self.local_conv(to_map(v, size)))

    def _shunted(self, x: torch.Tensor, q: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        grid = to_map(x, size)
        halves = q.chunk(2, dim=1)  # (B, heads/2, N, d)
        return torch.cat([self._group(half, grid, group) for group, half in enumerate(halves, start=1)], dim=-1)

    def _group(self, q: torch.Tensor, grid: torch.Tensor, group: int) -> torch.Tensor:
        """Half of the heads on keys and values merged by this group's ratio: -> (B, N, C/2)"""
        part = self.get_submodule
        merged = part(f"sr{group}")(grid)  # (B, C, h/ratio, w/ratio)
        tokens = self.act(part(f"norm{group}")(to_tokens(merged)))
        k, v = part(f"kv{group}")(tokens).chunk(2, dim=-1)  # (B, n, C/2)
        v = v + to_tokens(part(f"local_conv{group}")(to_map(v, (merged.shape[-2], merged.shape[-1]))))
        heads = self.num_heads // 2
        return self._attend(q, _heads(k, heads), _heads(v, heads))

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return (weights @ v).transpose(1, 2).flatten(2)  # (B, N, heads·d)


class Block(nn.Module):
    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float,
        qkv_bias: bool,
        qk_scale: float | None,
        sr_ratio: int,
        norm_layer: NormLayer,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = Attention(dim, num_heads, qkv_bias=qkv_bias, qk_scale=qk_scale, sr_ratio=sr_ratio)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), size)
        return x + self.mlp(self.norm2(x), size)  # type: ignore[no-any-return]


def to_map(tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, h·w, C) -> (B, C, h, w)"""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *size)


def to_tokens(x: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, h·w, C)"""
    return x.flatten(2).transpose(1, 2)


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, heads·d) -> (B, heads, N, d)"""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
