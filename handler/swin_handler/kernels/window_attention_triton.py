"""(Shifted-)window attention on a GPU: one Triton kernel from qkv in image order to the output in image order.

A program serves one head of one window (or a block of its queries), for a few images of the batch, so that the bias is
read once for them all. Rolling, padding, cutting windows and putting them back is the arithmetic of addresses; scores
and weights never leave the registers. Importing this module makes it what `swinserve::window_attention` runs on CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import triton

from swin_handler.kernels import window_attention_jit
from swin_handler.kernels.window_attention import window_attention

_SMALLEST_BLOCK = 16
"""Of tl.dot, on every axis."""
_ONE_BLOCK = 64
"""Windows of up to that many tokens are one block of keys, and their softmax needs no running maximum."""


@dataclass(frozen=True)
class Schedule:
    """How the work is cut into programs; the numbers it gives are the same but for rounding."""

    images: int
    """Of the batch, one after another in one program."""
    queries: int
    """Rows of the scores in one program: a power of two, at least 16."""
    keys: int
    """Columns of the scores at a time: likewise."""
    warps: int
    stages: int
    """Of the software pipeline: how many iterations' loads are under way."""

    def config(self) -> triton.Config:
        blocks = {"IMAGES": self.images, "BLOCK_M": self.queries, "BLOCK_N": self.keys}
        return triton.Config(blocks, num_warps=self.warps, num_stages=self.stages)


def schedules(tokens: int) -> list[Schedule]:
    """Those worth timing for windows of `tokens`."""
    if tokens <= _ONE_BLOCK:
        block = max(_SMALLEST_BLOCK, triton.next_power_of_2(tokens))
        # (images, warps, stages). Of a large batch several images share a bias; of a small one, programs are scarce.
        cuts = [(1, 4, 1), (1, 2, 1), (2, 4, 1), (2, 4, 2), (4, 4, 2), (8, 4, 2), (8, 4, 3)]
        return [Schedule(images, block, block, warps, stages) for images, warps, stages in cuts]
    blocks = [(64, 32, 4), (64, 64, 4), (128, 32, 4), (128, 64, 4), (128, 64, 8)]  # (queries, keys, warps)
    return [Schedule(1, queries, keys, warps, stages) for queries, keys, warps in blocks for stages in (1, 3)]


@window_attention.register_kernel("cuda")
def window_attention_cuda(
    qkv: torch.Tensor,
    bias: torch.Tensor,
    window_type: torch.Tensor,
    scale: torch.Tensor | None,
    window: Sequence[int],
    shift: Sequence[int],
    pad_qkv: torch.Tensor,
) -> torch.Tensor:
    """As `plain_window_attention`, by the fastest schedule; the first call for a shape times them all."""
    asked = Launch(qkv, bias, window_type, scale, window, shift, pad_qkv)
    with torch.cuda.device(qkv.device):  # Triton launches on the current device, whatever the tensors say
        return asked.run(_tuned(asked.tokens))


def launch(
    qkv: torch.Tensor,
    bias: torch.Tensor,
    window_type: torch.Tensor,
    scale: torch.Tensor | None,
    window: Sequence[int],
    shift: Sequence[int],
    pad_qkv: torch.Tensor,
    *,
    schedule: Schedule,
) -> torch.Tensor:
    """As `plain_window_attention`, by that schedule; on CPU tensors under TRITON_INTERPRET=1."""
    asked = Launch(qkv, bias, window_type, scale, window, shift, pad_qkv)
    return asked.run(window_attention_jit.window_attention, **schedule.config().all_kwargs())


class Launch:
    """The kernel's arguments, all but the schedule's."""

    def __init__(
        self,
        qkv: torch.Tensor,
        bias: torch.Tensor,
        window_type: torch.Tensor,
        scale: torch.Tensor | None,
        window: Sequence[int],
        shift: Sequence[int],
        pad_qkv: torch.Tensor,
    ) -> None:
        self.batch, height, width, channels = qkv.shape
        heads = bias.shape[1]
        rows, columns = (-(-side // step) for side, step in zip((height, width), window, strict=True))
        self.tokens = window[0] * window[1]
        self.heads, self.windows = heads, rows * columns
        self.out = qkv.new_empty(self.batch, height, width, channels // 3)
        # Without a scale its pointer is never read: any tensor will do.
        scale_or_any = bias if scale is None else scale
        self.tensors = (qkv.contiguous(), bias.contiguous(), window_type, scale_or_any, pad_qkv.contiguous(), self.out)
        depth = channels // (3 * heads)
        self.constants = {
            "MAP_H": height, "MAP_W": width, "WINDOW_H": window[0], "WINDOW_W": window[1],
            "HEADS": heads, "DEPTH": depth, "BLOCK_D": max(_SMALLEST_BLOCK, triton.next_power_of_2(depth)),
            "COLUMNS": columns, "PADDED": bool(height % window[0] or width % window[1]), "COSINE": scale is not None,
            # Products of float32 stay float32: TensorFloat-32 would be off by 1e-3.
            "PRECISION": "ieee" if qkv.dtype == torch.float32 else "tf32",
        }  # fmt: skip
        self.shift = (shift[0], shift[1])

    def run(self, kernel: Any, **schedule: int) -> torch.Tensor:
        kernel[self.grid](*self.tensors, self.batch, *self.shift, **self.constants, **schedule)
        return self.out

    def grid(self, meta: dict[str, int]) -> tuple[int, int, int]:
        """Heads run fastest: neighbours in the grid then read and write neighbours in memory."""
        blocks: int = triton.cdiv(self.tokens, meta["BLOCK_M"])
        return self.heads * blocks, self.windows, triton.cdiv(self.batch, meta["IMAGES"])


@cache
def _tuned(tokens: int) -> Any:
    """The kernel that times its schedules at the first call for a shape; Triton's cache keeps the result."""
    shape = ["batch", "MAP_H", "MAP_W", "WINDOW_H", "WINDOW_W", "HEADS", "DEPTH", "COSINE"]
    configs = [schedule.config() for schedule in schedules(tokens)]
    return triton.autotune(configs, shape, do_bench=_timed, cache_results=True)(window_attention_jit.window_attention)


def _timed(call: Any, quantiles: Sequence[float]) -> Any:
    # Milliseconds; a call takes microseconds, so that this is enough of them, and a start has many shapes to time.
    return triton.testing.do_bench(call, warmup=5, rep=25, quantiles=quantiles)
