"""Swin V1 and V2 as they run: uint8 (B, H, W, 3) -> Outputs; all that the pixels do not change is computed before.

Read from the bottom up it is the paper's figure 3: patches, stages of blocks with merging between them, norm, head.
Tokens stay a map (B, h, w, C). What the modules hold, and how it comes from timm's weights, is in `inference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import nn
from torch.nn.functional import gelu, pad

from swin_handler.kernels.window_attention import plain_window_attention
from swin_handler.models.norm import Norm
from swin_handler.models.patch_embedding import PatchEmbedding
from swin_handler.outputs import Outputs

__all__ = ["Attention", "Block", "InferenceSwin", "Merge", "Norm", "PatchEmbedding", "Stage"]

Pair = tuple[int, int]


class Attention(Protocol):
    """`plain_window_attention`, the operator `window_attention`, or another that does the same."""

    def __call__(
        self,
        qkv: torch.Tensor,
        bias: torch.Tensor,
        window_type: torch.Tensor | None,
        scale: torch.Tensor | None,
        window: Pair,
        shift: Pair,
        pad_qkv: torch.Tensor,
        /,
    ) -> torch.Tensor: ...


class Merge(nn.Module):
    """(B, h, w, C) -> (B, ⌈h/2⌉, ⌈w/2⌉, C'): each two by two tokens become one."""

    def __init__(self, norm: Norm, reduction: nn.Linear, *, norm_first: bool) -> None:
        super().__init__()
        self.norm = norm
        self.reduction = reduction
        self.norm_first = norm_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] % 2 or x.shape[2] % 2:
            x = pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        batch, h, w, channels = x.shape
        x = x.view(batch, h // 2, 2, w // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)  # (0,0), (1,0), (0,1), (1,1)
        x = x.reshape(batch, h // 2, w // 2, 4 * channels)
        return cast(torch.Tensor, self.reduction(self.norm(x)) if self.norm_first else self.norm(self.reduction(x)))


class Block(nn.Module):
    """Attention within (shifted) windows, then an MLP, each beside a shortcut: (B, h, w, C) -> (B, h, w, C)."""

    bias: torch.Tensor
    """(types, heads, N, N): relative position bias and shift mask; after `lay_out_bias` (windows or 1, heads, N, N)"""
    window_type: torch.Tensor | None
    """(windows,): the row of `bias` that each window takes, windows in row-major order of the rolled map"""
    scale: torch.Tensor | None
    """(heads,): V2's exp(min(logit_scale, ln 100)); None in V1, whose q is scaled by its weights"""

    def __init__(
        self,
        *,
        size: Pair,
        window: Pair,
        shift: Pair,
        norm_first: bool,
        norm1: Norm,
        qkv: nn.Linear,
        bias: torch.Tensor,
        window_type: torch.Tensor,
        scale: torch.Tensor | None,
        proj: nn.Linear,
        norm2: Norm,
        fc1: nn.Linear,
        fc2: nn.Linear,
    ) -> None:
        super().__init__()
        self.size = size
        self.window = window
        self.shift = shift
        self.heads = bias.shape[1]
        self.norm_first = norm_first
        self.norm1, self.qkv, self.proj = norm1, qkv, proj
        self.norm2, self.fc1, self.fc2 = norm2, fc1, fc2
        self.register_buffer("bias", bias)
        self.register_buffer("window_type", window_type)
        self.register_buffer("scale", scale)
        self.attention: Attention = plain_window_attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm_first:
            x = x + self.attend(self.norm1(x))
            x = x + self.mlp(self.norm2(x))
        else:
            x = x + self.norm1(self.attend(x))
            x = x + self.norm2(self.mlp(x))
        return x

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        # What pads a map to whole windows is zero before `qkv`, so its bias is what padding is projected to.
        mixed = self.attention(
            self.qkv(x), self.bias, self.window_type, self.scale, self.window, self.shift, self.qkv.bias
        )
        return cast(torch.Tensor, self.proj(mixed))

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.fc2(gelu(self.fc1(x))))

    def lay_out_bias(self) -> None:
        """One bias for each window in the weights' dtype, so that no forward pass looks one up or converts it.

        V2's stay in float32: they reach 16, where bfloat16 has steps of a sixteenth.
        """
        bias = self.bias if self.window_type is None or len(self.bias) == 1 else self.bias[self.window_type]
        self.bias = bias.to(self.qkv.weight.dtype) if self.scale is None else bias
        self.window_type = None


class Stage(nn.Module):
    def __init__(self, merge: Merge | None, blocks: Sequence[Block], size: Pair) -> None:
        super().__init__()
        self.merge = merge
        self.blocks = cast("Sequence[Block]", nn.ModuleList(blocks))
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.merge is None else self.merge(x)
        for block in self.blocks:
            x = block(x)
        return x

    def round_to(self, dtype: torch.dtype) -> None:
        for part in self.modules():
            if isinstance(part, nn.Linear | Norm):
                part.to(dtype)


class InferenceSwin(nn.Module):
    """uint8 (B, H, W, 3) -> Outputs, all on the pixels' device."""

    def __init__(self, embed: PatchEmbedding, stages: Sequence[Stage], norm: Norm, head: nn.Linear | None) -> None:
        super().__init__()
        self.embed = embed
        self.stages = cast("Sequence[Stage]", nn.ModuleList(stages))
        self.norm = norm
        self.head = head
        self.dtype = torch.float32
        self.gives_features = True
        """Whether Outputs has the map that class activation maps are made of."""

    def forward(self, pixels: torch.Tensor) -> Outputs:
        x = self.embed(pixels).to(self.dtype)
        for stage in self.stages:
            x = stage(x)
        features = self.norm(x)  # (B, h, w, C)
        embedding = features.mean(dim=(1, 2))
        logits = embedding[:, :0] if self.head is None else self.head(embedding)
        return Outputs(logits.float(), embedding, features if self.gives_features else None)

    def use(self, attention: Attention) -> None:
        """Every block's attention from now on."""
        for block in self.blocks():
            block.attention = attention

    def lay_out_bias(self) -> None:
        """Makes attention in plain PyTorch faster once the model has its dtype; our kernels want the bias as it was."""
        for block in self.blocks():
            block.lay_out_bias()

    def round_to(self, dtype: torch.dtype) -> None:
        """Turn the weights into `dtype`, but for the patch embedding and what is added to scores or multiplies them."""
        self.dtype = dtype
        if dtype != torch.float32:
            self.embed.reference = None
        for stage in self.stages:
            stage.round_to(dtype)
        self.norm.to(dtype)
        if self.head is not None:
            self.head.to(dtype)

    def blocks(self) -> Iterator[Block]:
        for stage in self.stages:
            yield from stage.blocks
