"""Shapes -> matrix products of those shapes as fast as PyTorch's libraries do them, weights prepacked.

Linear layers are oneDNN's, as Inductor's freezing and PT2E's quantisation make them; attention's products are
torch.bmm. In int8 linear layers and convolutions take and give unsigned bytes; attention's products are bfloat16 there,
for want of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .contender import TORCH_DTYPES
from .shapes import Shape

onednn, mkldnn = torch.ops.onednn, torch.ops.mkldnn
Product = Callable[[], object]
"""One matrix product or convolution, ready to run."""
_SCALE, _ZERO = 0.02, 128
_RESULT: tuple[object, ...] = (_SCALE, _ZERO, torch.uint8, "none", [], "")
"""No operation is fused to the product."""


class Inputs:
    """Noise; inputs of one shape and dtype are shared, as in a model that computes one layer after the other."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[int, ...], torch.dtype], torch.Tensor] = {}

    def of(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if (shape, dtype) not in self._made:
            self._made[shape, dtype] = _noise(shape, dtype)
        return self._made[shape, dtype]


def products(shapes: Sequence[Shape], dtype: str) -> list[Product]:
    """Each with weights of its own, as in the model. dtype: float32, bfloat16 or int8"""
    inputs = Inputs()
    if dtype == "int8":
        quantised = {"linear": _int8_linear, "convolution": _int8_convolution}
        return [
            quantised[s.kind](s, inputs) if s.kind in quantised else _bmm(s, inputs, torch.bfloat16) for s in shapes
        ]
    make = {"linear": _linear, "bmm": _bmm, "convolution": _convolution}
    return [make[shape.kind](shape, inputs, TORCH_DTYPES[dtype]) for shape in shapes]


def _noise(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if dtype in (torch.uint8, torch.int8):
        info = torch.iinfo(dtype)
        return torch.randint(info.min, info.max, shape, dtype=dtype)
    return torch.randn(shape).to(dtype)


def _linear(shape: Shape, inputs: Inputs, dtype: torch.dtype) -> Product:
    left, bias = inputs.of(shape.left, dtype), _noise(shape.right[1:], dtype)
    packed = mkldnn._reorder_linear_weight(_noise(shape.right[::-1], dtype), shape.left[0])
    return lambda: mkldnn._linear_pointwise(left, packed, bias, "none", [], "")


def _bmm(shape: Shape, inputs: Inputs, dtype: torch.dtype) -> Product:
    left, right = inputs.of(shape.left, dtype), inputs.of(shape.right, dtype)
    return lambda: torch.bmm(left, right)


def _convolution(shape: Shape, inputs: Inputs, dtype: torch.dtype) -> Product:
    image = inputs.of(shape.left, dtype).contiguous(memory_format=torch.channels_last)
    stride, padding, dilation, groups = shape.placement
    weight, bias = _noise(shape.right, dtype), _noise(shape.right[:1], dtype)
    packed = mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, shape.left)
    where = (padding, stride, dilation, groups)
    return lambda: mkldnn._convolution_pointwise(image, packed, bias, *where, "none", [], "")


def _int8_linear(shape: Shape, inputs: Inputs) -> Product:
    left = inputs.of(shape.left, torch.uint8)
    packed = onednn.qlinear_prepack(_noise(shape.right[::-1], torch.int8), list(shape.left))
    scales, zeros, bias = _per_channel(shape.right[1])
    return lambda: onednn.qlinear_pointwise(left, _SCALE, _ZERO, packed, scales, zeros, bias, *_RESULT)


def _int8_convolution(shape: Shape, inputs: Inputs) -> Product:
    image = inputs.of(shape.left, torch.uint8).contiguous(memory_format=torch.channels_last)
    scales, zeros, bias = _per_channel(shape.right[0])
    weight = _noise(shape.right, torch.int8)
    packed = onednn.qconv_prepack(weight, scales, _SCALE, _ZERO, *shape.placement, list(shape.left))
    where = shape.placement
    return lambda: onednn.qconv_pointwise(image, _SCALE, _ZERO, packed, scales, zeros, bias, *where, *_RESULT)


def _per_channel(width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scales, zero points and bias of a quantised layer's outputs."""
    return torch.full((width,), 0.01), torch.zeros(width, dtype=torch.int64), torch.randn(width)
