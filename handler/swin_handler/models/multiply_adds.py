"""A model -> the multiply-adds of one image, as the papers count them.

Swin V1 and V2 are counted by the formulas of the reference's own `flops()`, norms included. Every other model is
counted by running it: products of matrices and convolutions, as torch's FlopCounterMode sees them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Windows:
    """What attention within windows saves: multiply-adds of all the stage's attention layers."""

    map_size: tuple[int, int]
    window: tuple[int, int]
    windowed: int
    """Ω(W-MSA) = 4hwC² + 2M²hwC, once a block"""
    everywhere: int
    """Ω(MSA) = 4hwC² + 2(hw)²C, once a block (arXiv 2103.14030, equations 1 and 2)"""


@dataclass(frozen=True)
class Part:
    name: str
    multiply_adds: int
    windows: Windows | None = None


def count(model: nn.Module, input_size: Sequence[int]) -> tuple[Part, ...]:
    """The model's parts in the order of the forward pass; their sum is the whole image's.

    input_size: (channels, height, width). The model may be on the meta device. Raises what its forward pass raises.
    """
    if isinstance(model, SwinTransformer | SwinTransformerV2):
        return tuple(_swin(model))
    return tuple(_counted(model, input_size))


def total(parts: Sequence[Part]) -> int:
    return sum(part.multiply_adds for part in parts)


def window_attention(height: int, width: int, channels: int, window: tuple[int, int]) -> int:
    """Ω(W-MSA) of one layer over a map of height × width tokens."""
    return 4 * height * width * channels**2 + 2 * math.prod(window) * height * width * channels


def global_attention(height: int, width: int, channels: int) -> int:
    """Ω(MSA) of one layer over a map of height × width tokens."""
    return 4 * height * width * channels**2 + 2 * (height * width) ** 2 * channels


def _swin(model: SwinTransformer | SwinTransformerV2) -> Iterator[Part]:
    embed: Any = model.patch_embed
    stages: Any = model.layers
    tokens = math.prod(embed.grid_size)
    norm = 0 if isinstance(embed.norm, nn.Identity) else tokens * embed.proj.out_channels
    yield Part("patch_embed", tokens * embed.proj.weight.numel() + norm)
    for index, stage in enumerate(stages):
        merging = 0 if isinstance(stage.downsample, nn.Identity) else _merging(stage.downsample, stage.input_resolution)
        blocks = sum(_block(block) for block in stage.blocks)
        yield Part(f"stage {index + 1}", merging + blocks, _windows(stage))
    # The reference counts the last norm as C·h·w / 2^stages of the first map, more than it is; kept, to be comparable.
    last_norm = model.num_features * tokens // 2 ** len(stages)
    yield Part("head", last_norm + model.num_features * model.num_classes)


def _block(block: Any) -> int:
    size: tuple[int, int] = block.input_resolution
    dim: int = block.attn.dim
    padded = _padded(size, block.window_size)
    hidden: int = block.mlp.fc1.out_features
    norms_and_mlp = 2 * math.prod(size) * dim * (1 + hidden)
    return norms_and_mlp + window_attention(*padded, dim, block.window_size)


def _merging(merging: Any, resolution: tuple[int, int]) -> int:
    """The map of the stage before, merged two by two."""
    dim: int = merging.dim
    height, width = _padded(resolution, (2, 2))
    reduction: int = (height // 2) * (width // 2) * merging.reduction.weight.numel()
    norm: int = height * width * dim
    # V1 norms the four merged patches before the reduction, V2 half as many channels after it.
    norms_before = merging.norm.normalized_shape[0] == 4 * dim
    return reduction + (norm if norms_before else norm // 2)


def _windows(stage: Any) -> Windows:
    block = stage.blocks[0]
    height, width = block.input_resolution
    dim, depth = block.attn.dim, len(stage.blocks)
    padded = _padded((height, width), block.window_size)
    return Windows(
        map_size=(height, width),
        window=tuple(block.window_size),
        windowed=depth * window_attention(*padded, dim, block.window_size),
        everywhere=depth * global_attention(height, width, dim),
    )


def _padded(size: tuple[int, int], unit: tuple[int, int]) -> tuple[int, int]:
    height, width = (math.ceil(side / step) * step for side, step in zip(size, unit, strict=True))
    return height, width


def _counted(model: nn.Module, input_size: Sequence[int]) -> Iterator[Part]:
    """One part for each child of the model, and for each stage where they are told apart."""
    device = next(model.parameters(), torch.empty(0)).device
    counter = FlopCounterMode(display=False)
    with _countable(model), torch.inference_mode(), counter:
        model(torch.zeros(1, *input_size, device=device))
    counts = {module: sum(operations.values()) // 2 for module, operations in counter.get_flop_counts().items()}
    parts = [Part(name, _sum(counts, f"{type(model).__name__}.{name}", part)) for name, part in _parts(model)]
    yield from (part for part in _by_stage(parts) if part.multiply_adds)
    if rest := counts.get("Global", 0) - total(parts):
        yield Part("elsewhere", rest)


def _sum(counts: Mapping[Any, int], name: str, module: nn.Module) -> int:
    """A container that is never called itself, such as a ModuleList, has the counts of what it holds."""
    if name in counts:
        return counts[name]
    return sum(_sum(counts, f"{name}.{key}", child) for key, child in module.named_children())


def _by_stage(parts: Sequence[Part]) -> list[Part]:
    """`patch_embed2`, `block2` and `norm2` of Shunted and its kin are their stage 2."""
    stages: dict[str, int] = {}
    for part in parts:
        name = re.sub(r"^(?:patch_embed|block|norm)(\d+)$", r"stage \1", part.name)
        stages[name] = stages.get(name, 0) + part.multiply_adds
    return [Part(name, multiply_adds) for name, multiply_adds in stages.items()]


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        inner = list(child.named_children()) if name in ("stages", "layers") else []
        yield from [(f"{name}.{key}", part) for key, part in inner] or [(name, child)]


@contextmanager
def _countable(model: nn.Module) -> Iterator[None]:
    """Fused attention kernels hide their products from the counter, and it fails on a module that is called with a
    parameter which wants gradients."""
    fused: list[Any] = [part for part in model.modules() if getattr(part, "fused_attn", False) is True]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for part in fused:
            part.fused_attn = False
        model.requires_grad_(False)
        yield
    finally:
        for part in fused:
            part.fused_attn = True
        for parameter in trained:
            parameter.requires_grad_(True)
