"""Swin V1 and V2 with everything the reference implementations take: timm's models, and what timm's constructors lack.

Lacking are the absolute position embedding, qk_scale, no norm after the patch embedding in V2, and the reference's rule
for windows on maps that are not square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from swin_handler.models.checkpoint import CheckpointMismatch

Size = int | Sequence[int]
NormLayer = Callable[[int], nn.Module]


def swin(
    *,
    img_size: Size = 224,
    patch_size: Size = 4,
    in_chans: int = 3,
    num_classes: int = 1000,
    embed_dim: int = 96,
    depths: Sequence[int] = (2, 2, 6, 2),
    num_heads: Sequence[int] = (3, 6, 12, 24),
    window_size: int = 7,
    mlp_ratio: float = 4.0,
    qkv_bias: bool = True,
    qk_scale: float | None = None,  # noqa: ARG001 - see below
    norm_layer: NormLayer = nn.LayerNorm,
    ape: bool = False,
    patch_norm: bool = True,
) -> nn.Module:
    """Swin V1 (arXiv 2103.14030) with the reference's arguments and defaults, initial weights.

    `qk_scale` needs no place in the model: `fold_qk_scale` puts it into the weights.
    """
    maps = _maps(img_size, patch_size, len(depths))
    timm_swin: Any = SwinTransformer  # its annotations are narrower than what it takes
    model = timm_swin(
        img_size=_pair(img_size),
        patch_size=_pair(patch_size),
        in_chans=in_chans,
        num_classes=num_classes,
        embed_dim=embed_dim,
        depths=tuple(depths),
        num_heads=tuple(num_heads),
        window_size=_windows(maps, window_size),
        mlp_ratio=mlp_ratio,
        qkv_bias=qkv_bias,
        norm_layer=norm_layer,
    )
    return _completed(model, maps, window_size, ape=ape, patch_norm=patch_norm)


def swinv2(
    *,
    img_size: Size = 224,
    patch_size: Size = 4,
    in_chans: int = 3,
    num_classes: int = 1000,
    embed_dim: int = 96,
    depths: Sequence[int] = (2, 2, 6, 2),
    num_heads: Sequence[int] = (3, 6, 12, 24),
    window_size: int = 7,
    mlp_ratio: float = 4.0,
    qkv_bias: bool = True,
    norm_layer: NormLayer = nn.LayerNorm,
    ape: bool = False,
    patch_norm: bool = True,
    pretrained_window_sizes: Sequence[int] | None = None,
) -> nn.Module:
    """Swin V2 (arXiv 2111.09883) with the reference's arguments and defaults, initial weights."""
    maps = _maps(img_size, patch_size, len(depths))
    timm_swin: Any = SwinTransformerV2
    model = timm_swin(
        img_size=_pair(img_size),
        patch_size=_pair(patch_size),
        in_chans=in_chans,
        num_classes=num_classes,
        embed_dim=embed_dim,
        depths=tuple(depths),
        num_heads=tuple(num_heads),
        window_size=_windows(maps, window_size),
        mlp_ratio=mlp_ratio,
        qkv_bias=qkv_bias,
        norm_layer=norm_layer,
        pretrained_window_sizes=tuple(pretrained_window_sizes or (0,) * len(depths)),
    )
    return _completed(model, maps, window_size, ape=ape, patch_norm=patch_norm)


class PositionedPatchEmbed(PatchEmbed):
    """Patches plus Swin's optional absolute position embedding: (B, C, H, W) -> (B, h, w, D)"""

    def __init__(self, like: PatchEmbed) -> None:
        super().__init__(
            img_size=like.img_size,
            patch_size=like.patch_size,
            in_chans=like.proj.in_channels,
            embed_dim=like.proj.out_channels,
            output_fmt="NHWC",
        )
        self.norm = like.norm
        self.absolute_pos_embed = nn.Parameter(torch.zeros(1, like.num_patches, like.proj.out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # (B, h, w, D)
        return tokens + self.absolute_pos_embed.view(1, *tokens.shape[1:])


def fold_qk_scale(model: nn.Module, qk_scale: float | None) -> None:
    """Scales the query weights so that timm's own head_dim^-0.5 comes to `qk_scale`.

    As in the reference, None and 0 leave head_dim^-0.5.
    """
    if not qk_scale:
        return
    for attention in _attentions(model):
        factor = qk_scale / attention.scale
        with torch.no_grad():
            attention.qkv.weight[: attention.dim].mul_(factor)
            if attention.qkv.bias is not None:
                attention.qkv.bias[: attention.dim].mul_(factor)


def _completed(model: Any, maps: list[tuple[int, int]], window: int, *, ape: bool, patch_norm: bool) -> nn.Module:
    if not patch_norm:
        model.patch_embed.norm = nn.Identity()
    if ape:
        model.patch_embed = PositionedPatchEmbed(model.patch_embed)
    for stage, size in zip(model.layers, maps, strict=True):
        if min(size) <= window:
            _no_shift(stage)
    assert isinstance(model, nn.Module)
    return model


def _no_shift(stage: Any) -> None:
    """The reference shifts in both directions or in none; timm decides for each by itself."""
    for block in stage.blocks:
        block.shift_size = (0, 0)
        block._init_buffers()  # the mask of the shift goes with it


def _windows(maps: list[tuple[int, int]], window: int) -> list[tuple[int, int]]:
    """Of each stage. The reference's windows are square and no larger than the map's short side."""
    windows = [min(window, *size) for size in maps]
    for stage, (size, side) in enumerate(zip(maps, windows, strict=True), start=1):
        if size[0] % side or size[1] % side:
            raise CheckpointMismatch(
                f"stage {stage} has a map of {size[0]}×{size[1]} tokens, which windows of {side}×{side} do not cover; "
                "choose img_size, patch_size and window_size that fit"
            )
    return [(side, side) for side in windows]


def _maps(img_size: Size, patch_size: Size, stages: int) -> list[tuple[int, int]]:
    """Tokens (height, width) of each stage; each stage halves them, which the reference does with even ones only."""
    height, width = (side // patch for side, patch in zip(_pair(img_size), _pair(patch_size), strict=True))
    maps = [(height >> stage, width >> stage) for stage in range(stages)]
    halved = 1 << (stages - 1)
    if min(height, width) < 1 or height % halved or width % halved:
        raise CheckpointMismatch(
            f"img_size {img_size} in patches of {patch_size} gives {height}×{width} tokens, which cannot be halved "
            f"{stages - 1} times"
        )
    return maps


def _pair(size: Size) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _attentions(model: Any) -> Iterator[Any]:
    return (block.attn for stage in model.layers for block in stage.blocks)
