"""A model -> the shapes of its matrix products and convolutions, recorded while it runs on PyTorch's meta device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .subject import timm_module

aten = torch.ops.aten


@dataclass(frozen=True)
class Shape:
    layer: str
    """Name of the module it belongs to, as in `named_modules`."""
    kind: str
    """linear, bmm or convolution"""
    left: tuple[int, ...]
    """linear (M, K), bmm (B, M, K), convolution (B, C, H, W)"""
    right: tuple[int, ...]
    """linear (K, N), bmm (B, K, N), convolution's weight (D, C, h, w)"""
    placement: tuple[Any, ...] = ()
    """Of a convolution: stride, padding, dilation, groups."""

    @property
    def multiply_adds(self) -> int:
        if self.kind == "convolution":
            batch, _, height, width = self.left
            (down, across), (above, beside), *_ = self.placement
            rows = (height + 2 * above - self.right[2]) // down + 1
            columns = (width + 2 * beside - self.right[3]) // across + 1
            depth = self.right[1] * self.right[2] * self.right[3]
            return int(batch * rows * columns * self.right[0] * depth)
        *outer, inner = self.left
        return torch.Size(outer).numel() * inner * self.right[-1]


@dataclass
class _Recorder(TorchDispatchMode):
    shapes: list[Shape] = field(default_factory=list)
    path: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        layer = self.path[-1] if self.path else ""
        if func is aten.addmm.default:
            self.shapes.append(Shape(layer, "linear", tuple(args[1].shape), tuple(args[2].shape)))
        elif func is aten.mm.default:
            self.shapes.append(Shape(layer, "linear", tuple(args[0].shape), tuple(args[1].shape)))
        elif func is aten.bmm.default:
            self.shapes.append(Shape(layer, "bmm", tuple(args[0].shape), tuple(args[1].shape)))
        elif func is aten.convolution.default:
            self.shapes.append(_convolution(layer, *args))
        return func(*args, **(kwargs or {}))


def shapes(name: str, batch: int, size: Sequence[int]) -> list[Shape]:
    """Every product of one forward pass that depends on the images, in order. size: (3, H, W)"""
    module = timm_module(name).to("meta")
    one, two = (_record(module, (count, *size)) for count in (batch, 2 * batch))
    # What does not grow with the batch is made of weights alone: V2's relative position bias, for one.
    return [shape for shape, doubled in zip(one, two, strict=True) if shape != doubled]


def _record(module: nn.Module, size: tuple[int, ...]) -> list[Shape]:
    recorder = _Recorder()
    with _paths(module, recorder.path), torch.no_grad(), recorder:
        module(torch.empty(size, device="meta"))
    return recorder.shapes


@contextmanager
def _paths(module: nn.Module, path: list[str]) -> Iterator[None]:
    """While it lasts, `path` ends with the name of the module that is running."""
    handles = []
    for name, layer in module.named_modules():
        handles.append(layer.register_forward_pre_hook(lambda *_, name=name: path.append(name)))
        handles.append(layer.register_forward_hook(lambda *_: path.pop() and None))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _convolution(layer: str, image: Any, weight: Any, _bias: Any, *placement: Any) -> Shape:
    stride, padding, dilation, _transposed, _output_padding, groups = placement
    batch, channels, height, width = image.shape
    patch = tuple(weight.shape[2:])
    if tuple(stride) == patch and not any(padding):  # patches that do not overlap: a linear layer
        rows = batch * (height // patch[0]) * (width // patch[1])
        depth = channels * patch[0] * patch[1]
        return Shape(layer, "linear", (rows, depth), (depth, weight.shape[0]))
    where = (tuple(stride), tuple(padding), tuple(dilation), groups)
    return Shape(layer, "convolution", tuple(image.shape), tuple(weight.shape), where)
