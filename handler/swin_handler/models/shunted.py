"""Shunted Transformer (arXiv 2111.15193): timm-registered classifiers shunted_tiny, _small and _base, and the neck.

Parameter names are those of the official implementation, so its checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers.weight_init import trunc_normal_
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from swin_handler.models.checkpoint import CheckpointMismatch
from swin_handler.models.shunted_block import Block, NormLayer, to_map, to_tokens

__all__ = ["ShuntedNeck", "ShuntedTransformer"]

STEM_WIDTH = 64
BLOCK_NORM: NormLayer = partial(nn.LayerNorm, eps=1e-6)
"""Of blocks and stages; patch embeddings and merged keys have PyTorch's 1e-5 (both as in the official code)."""


class Stem(nn.Module):
    """Image -> 64 channels at a quarter of its size: 7×7/2, `extra` 3×3, then 2×2/2 convolutions and a norm."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_conv_bn_relu(3, 7, stride=2)]
        for _ in range(extra):
            layers += _conv_bn_relu(STEM_WIDTH, 3, stride=1)
        self.conv = nn.Sequential(*layers, nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 2, stride=2))
        self.norm = nn.LayerNorm(STEM_WIDTH)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        return _tokens_and_size(self.conv(x), self.norm)


class PatchEmbed(nn.Module):
    """Overlapping 3×3 patches: (B, C, H, W) -> tokens (B, N, D) and their (height, width)"""

    def __init__(self, in_dim: int, dim: int, *, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, dim, 3, stride=stride, padding=1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        return _tokens_and_size(self.proj(x), self.norm)


class ShuntedTransformer(nn.Module):
    """The classifier; arguments and defaults are the official constructor's, of which img_size, patch_size and
    in_chans change nothing (its stem is fixed): any image of at least 4·sr_ratios[0] pixels a side works.

    `forward_features` gives the map (B, C, h, w) after the last norm, whose mean the head turns into logits.
    """

    def __init__(
        self,
        *,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dims: Sequence[int] = (64, 128, 256, 512),
        num_heads: Sequence[int] = (1, 2, 4, 8),
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        norm_layer: NormLayer = BLOCK_NORM,
        depths: Sequence[int] = (3, 4, 6, 3),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        num_stages: int = 4,
        num_conv: int = 0,
    ) -> None:
        super().__init__()
        if embed_dims[0] != STEM_WIDTH:
            raise CheckpointMismatch(f"the stem gives {STEM_WIDTH} channels: embed_dims[0] must be that")
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = embed_dims[num_stages - 1]
        self.num_stages = num_stages
        self.sr_ratios = tuple(sr_ratios)
        for stage in range(num_stages):
            dim = embed_dims[stage]
            embed = PatchEmbed(embed_dims[stage - 1], dim, stride=2) if stage else Stem(num_conv)
            blocks = [
                Block(
                    dim,
                    num_heads[stage],
                    mlp_ratio=mlp_ratios[stage],
                    qkv_bias=qkv_bias,
                    qk_scale=qk_scale,
                    sr_ratio=sr_ratios[stage],
                    norm_layer=norm_layer,
                )
                for _ in range(depths[stage])
            ]
            self.add_module(f"patch_embed{stage + 1}", embed)
            self.add_module(f"block{stage + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{stage + 1}", norm_layer(dim))
        self.head: nn.Module
        self.reset_classifier(num_classes)
        self.apply(_initialise)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        # The stem halves and rounds up, then halves and rounds down; said here, before torch complains of its kernels.
        _check_size(((x.shape[2] + 1) // 4, (x.shape[3] + 1) // 4), self.sr_ratios[0], 0)
        for stage in range(self.num_stages):
            tokens, size = self.get_submodule(f"patch_embed{stage + 1}")(x)
            _check_size(size, self.sr_ratios[stage], stage)
            for block in self.get_submodule(f"block{stage + 1}").children():
                tokens = block(tokens, size)
            x = to_map(self.get_submodule(f"norm{stage + 1}")(tokens), size)
        return x  # (B, C, h, w)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=(2, 3))  # (B, C)
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """A new head; 0 classes: none, and the model gives pooled features."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


class ShuntedNeck(nn.Module):
    """One stage between backbone and head of a detector: (B, cin, H, W) -> (B, cin, H, W)

    Any map of at least sr_ratios tokens a side works; img_size and patch_size change nothing.
    """

    def __init__(
        self,
        *,
        cin: int,
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        num_heads: int = 8,
        mlp_ratios: float = 4,
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        norm_layer: NormLayer = BLOCK_NORM,
        depth: int = 3,
        sr_ratios: int = 8,
    ) -> None:
        super().__init__()
        self.sr_ratio = sr_ratios
        self.patch_embed = PatchEmbed(cin, cin, stride=1)
        self.block = nn.ModuleList(
            Block(
                cin,
                num_heads,
                mlp_ratio=mlp_ratios,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                sr_ratio=sr_ratios,
                norm_layer=norm_layer,
            )
            for _ in range(depth)
        )
        self.norm = norm_layer(cin)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens, size = self.patch_embed(x)
        _check_size(size, self.sr_ratio, 0)
        for block in self.block:
            tokens = block(tokens, size)
        return to_map(self.norm(tokens), size)


def _conv_bn_relu(channels: int, kernel: int, *, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, STEM_WIDTH, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(STEM_WIDTH), nn.ReLU(inplace=True)]


def _tokens_and_size(x: torch.Tensor, norm: nn.Module) -> tuple[torch.Tensor, tuple[int, int]]:
    return norm(to_tokens(x)), (x.shape[2], x.shape[3])


def _check_size(size: tuple[int, int], sr_ratio: int, stage: int) -> None:
    if min(size) < sr_ratio:
        raise CheckpointMismatch(
            f"stage {stage + 1} has a map of {size[0]}×{size[1]} tokens, too small to merge {sr_ratio}×{sr_ratio} of "
            "them; use larger images"
        )


def _initialise(module: nn.Module) -> None:
    """As the official code: truncated normal for linear layers, He by fan-out for convolutions."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _cfg() -> dict[str, Any]:
    # The official evaluation: the short side to 256, then the middle 224×224.
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed1.conv.0",
        "classifier": "head",
        "license": "apache-2.0",
    }


default_cfgs = generate_default_cfgs({name: _cfg() for name in ("shunted_tiny", "shunted_small", "shunted_base")})


TRAINING = {"drop_rate", "attn_drop_rate", "drop_path_rate"}
"""Arguments of every timm model that change nothing in inference."""


def _create(variant: str, pretrained: bool, depths: Sequence[int], num_conv: int, **given: Any) -> ShuntedTransformer:
    if given.get("in_chans", 3) != 3 or given.get("features_only"):
        raise CheckpointMismatch(f"{variant} is a classifier of RGB images: neither in_chans nor features_only apply")
    given = {name: value for name, value in given.items() if name not in TRAINING}
    arguments = {
        "num_heads": (2, 4, 8, 16),
        "mlp_ratios": (8, 8, 4, 4),
        "qkv_bias": True,
        "depths": depths,
        "num_conv": num_conv,
    }
    model = build_model_with_cfg(ShuntedTransformer, variant, pretrained, **{**arguments, **given})
    assert isinstance(model, ShuntedTransformer)
    return model


@register_model
def shunted_tiny(pretrained: bool = False, **given: Any) -> ShuntedTransformer:
    """Shunted-T: 11.6 M parameters"""
    return _create("shunted_tiny", pretrained, (1, 2, 4, 1), 0, **given)


@register_model
def shunted_small(pretrained: bool = False, **given: Any) -> ShuntedTransformer:
    """Shunted-S: 22.4 M parameters"""
    return _create("shunted_small", pretrained, (2, 4, 12, 1), 1, **given)


@register_model
def shunted_base(pretrained: bool = False, **given: Any) -> ShuntedTransformer:
    """Shunted-B: 39.6 M parameters"""
    return _create("shunted_base", pretrained, (3, 4, 24, 2), 2, **given)
