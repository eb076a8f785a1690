"""timm's Swin V1 or V2 -> its inference form: constants computed once and folded into the weights next to them.

What follows from weights and sizes alone, timm computes in every forward pass; here it is done once. Folding happens in
float64 and is rounded to float32; V1 equals timm's module up to that rounding. In V2 there is nothing to fold, and
PyTorch runs it all but to the bit as timm's: cosine attention makes more of other rounding than float32 is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.activations import GELU
from timm.layers.classifier import ClassifierHead
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm
from timm.layers.patch_embed import PatchEmbed
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from swin_handler.models import window_bias
from swin_handler.models.inference_swin import Attention, Block, InferenceSwin, Merge, Norm, PatchEmbedding, Stage
from swin_handler.models.patch_embedding import Normalisation
from swin_handler.models.swin import PositionedPatchEmbed

__all__ = ["Attention", "Block", "InferenceSwin", "Merge", "Norm", "PatchEmbedding", "Stage", "convert", "covers"]


@torch.no_grad()
def convert(module: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> InferenceSwin | None:
    """The inference form of a timm SwinTransformer or SwinTransformerV2 in float32; None for everything else.

    mean, std: of the three channels, for pixels from 0 to 1. `module` is left as it is and shares no memory.
    """
    if not covers(module):
        return None
    model: Any = module
    stages = [_stage(stage, norm_first=isinstance(model, SwinTransformer)) for stage in model.layers]
    head = model.head.fc
    return InferenceSwin(
        _patch_embedding(model.patch_embed, mean, std),
        stages,
        _norm(model.norm),
        _linear(head.weight, head.bias) if isinstance(head, nn.Linear) else None,
    ).eval()


def covers(module: Any) -> bool:
    """Whether the model is built of nothing but what the inference form knows."""
    if type(module) not in (SwinTransformer, SwinTransformerV2) or module.dynamic_img_size:
        return False
    embed, head = module.patch_embed, module.head
    return (
        type(embed) in (PatchEmbed, PositionedPatchEmbed)
        and not embed.dynamic_img_pad
        and embed.proj.in_channels == 3
        and _is_norm(embed.norm, nn.Identity)
        and type(head) is ClassifierHead
        and head.global_pool.pool_type == "avg"
        and type(head.fc) in (nn.Linear, nn.Identity)
        and _is_norm(module.norm)
        and all(isinstance(stage.downsample, nn.Identity) or _is_norm(stage.downsample.norm) for stage in module.layers)
        and all(_block_covered(block) for stage in module.layers for block in stage.blocks)
    )


def _block_covered(block: Any) -> bool:
    mlp = block.mlp
    return (
        _is_norm(block.norm1)
        and _is_norm(block.norm2)
        and type(mlp) is Mlp
        and isinstance(mlp.norm, nn.Identity)
        and (type(mlp.act) is GELU or (type(mlp.act) is nn.GELU and mlp.act.approximate == "none"))
    )


def _is_norm(layer: nn.Module, *others: type[nn.Module]) -> bool:
    return type(layer) in (nn.LayerNorm, LayerNorm, *others)


def _patch_embedding(embed: Any, mean: Sequence[float], std: Sequence[float]) -> PatchEmbedding:
    """(pixel/255 − mean)/std, then the product with W, is pixel·W/(255·std) + (b − Σ W·mean/std)."""
    means, deviations = (torch.tensor(list(values), dtype=torch.float64) for values in (mean, std))
    project = _linear(embed.proj.weight.permute(0, 2, 3, 1).flatten(1), embed.proj.bias)
    weight = project.weight.double().view(project.out_features, -1, 3) / deviations  # (C, ph·pw, 3)
    bias = -(weight * means).sum(dim=(1, 2))
    position = getattr(embed, "absolute_pos_embed", None)
    return PatchEmbedding(
        weight=(weight / 255).flatten(1).float(),
        bias=(bias if project.bias is None else bias + project.bias).float(),
        reference=nn.Sequential(Normalisation(mean, std), project),
        patch_size=tuple(embed.patch_size),
        norm=None if isinstance(embed.norm, nn.Identity) else _norm(embed.norm),
        position=None if position is None else position[0].clone(),
    )


def _stage(stage: Any, *, norm_first: bool) -> Stage:
    merge = None if isinstance(stage.downsample, nn.Identity) else _merge(stage.downsample, norm_first=norm_first)
    blocks = [_block(block, norm_first=norm_first) for block in stage.blocks]
    return Stage(merge, blocks, tuple(stage.output_resolution))


def _merge(merging: Any, *, norm_first: bool) -> Merge:
    norm, weight = merging.norm, merging.reduction.weight
    if norm_first:
        return Merge(_bare(norm), _linear(*_absorbed(norm, weight.double(), None)), norm_first=True)
    return Merge(_norm(norm), _linear(weight, None), norm_first=False)


def _block(block: Any, *, norm_first: bool) -> Block:
    size, window, shift = (tuple(pair) for pair in (block.input_resolution, block.window_size, block.shift_size))
    table = block.attn.relative_position_bias_table if norm_first else window_bias.cosine_table(block.attn)
    bias, window_type = window_bias.merged(table, size, window, shift)
    return Block(
        size=size,
        window=window,
        shift=shift,
        norm_first=norm_first,
        bias=bias,
        window_type=window_type,
        proj=_linear(block.attn.proj.weight, block.attn.proj.bias),
        fc2=_linear(block.mlp.fc2.weight, block.mlp.fc2.bias),
        **(_v1_layers(block) if norm_first else _v2_layers(block)),
    )


def _v1_layers(block: Any) -> dict[str, Any]:
    """q's rows of qkv scaled, the norms' weights and biases in the layers after them."""
    attention, fc1 = block.attn, block.mlp.fc1
    weight = attention.qkv.weight.double()
    scale = weight.new_ones(len(weight))
    scale[: len(weight) // 3] = attention.scale
    bias = torch.zeros_like(scale) if attention.qkv.bias is None else attention.qkv.bias * scale
    weight = weight * scale[:, None]
    norm1 = _norm(block.norm1)
    # Padding to whole windows comes after the norm: there its weight and bias must not reach the padding.
    if not any(side % step for side, step in zip(block.input_resolution, block.window_size, strict=True)):
        norm1, (weight, bias) = _bare(block.norm1), _absorbed(block.norm1, weight, bias)
    return {
        "norm1": norm1,
        "qkv": _linear(weight, bias),
        "scale": None,
        "norm2": _bare(block.norm2),
        "fc1": _linear(*_absorbed(block.norm2, fc1.weight.double(), fc1.bias)),
    }


def _v2_layers(block: Any) -> dict[str, Any]:
    """Nothing to fold: the norms come after their layers, the scale after the norm of q and k."""
    attention = block.attn
    bias = torch.zeros(3 * attention.dim)
    if attention.q_bias is not None:
        bias = torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
    return {
        "norm1": _norm(block.norm1),
        "qkv": _linear(attention.qkv.weight, bias),
        "scale": attention.logit_scale.flatten().clamp(max=math.log(100)).exp(),
        "norm2": _norm(block.norm2),
        "fc1": _linear(block.mlp.fc1.weight, block.mlp.fc1.bias),
    }


def _absorbed(norm: nn.LayerNorm, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """W·(x∘γ + β) + b is (W∘γ)·x + (W·β + b)."""
    absorbed = torch.zeros(len(weight)).double() if bias is None else bias.double()
    if norm.bias is not None:
        absorbed = absorbed + weight @ norm.bias.double()
    return (weight if norm.weight is None else weight * norm.weight), absorbed


def _bare(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.normalized_shape[0], norm.eps, None, None)


def _norm(norm: nn.LayerNorm) -> Norm:
    weight, bias = (None if value is None else value.detach().clone() for value in (norm.weight, norm.bias))
    return Norm(norm.normalized_shape[0], norm.eps, weight, bias)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """In float32, a copy."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta").to_empty(device="cpu")
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
    return layer.requires_grad_(False)
