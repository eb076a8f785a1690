"""The compiled library of `native/` through ctypes: layers in, one call for a forward pass.

The structures here are those of the headers, field by field.
"""

from __future__ import annotations

import ctypes
import math
from ctypes import POINTER, Structure, byref, c_char_p, c_double, c_float, c_int, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from swin_handler.engine.errors import BackendFailed
from swin_handler.models.inference_swin import Block, Merge, Norm, PatchEmbedding

STEPS = ("embed", "qkv", "attention", "projection", "mlp", "merge", "head")
"""What `Network.profile` tells apart; `qkv` has the gathering of windows and the first norm, `mlp` the second."""

_MESSAGE_BYTES = 256
_FLOATS = POINTER(c_float)
_NONE = _FLOATS()


class _Size(Structure):
    _fields_ = (("height", c_int), ("width", c_int))


class _Linear(Structure):
    _fields_ = (("weight", _FLOATS), ("bias", _FLOATS), ("outputs", c_int), ("inputs", c_int))


class _Norm(Structure):
    _fields_ = (("weight", _FLOATS), ("bias", _FLOATS), ("width", c_int), ("eps", c_float))


class _Embed(Structure):
    _fields_ = (
        *(("image", _Size), ("patch", _Size), ("map", _Size)),
        *(("linear", _Linear), ("normalised", c_int), ("norm", _Norm), ("position", _FLOATS)),
    )


class _Merge(Structure):
    _fields_ = (("map", _Size), ("norm_first", c_int), ("norm", _Norm), ("reduction", _Linear))


class _Attention(Structure):
    _fields_ = (
        *(("bias", _FLOATS), ("scale", _FLOATS)),
        *(("types", c_int), ("heads", c_int), ("depth", c_int), ("tokens", c_int)),
    )


class _Block(Structure):
    _fields_ = (
        *(("map", _Size), ("window", _Size), ("shift", _Size)),
        *(("norm_first", c_int), ("types", POINTER(c_int)), ("attention", _Attention)),
        *(("norm1", _Norm), ("norm2", _Norm)),
        *(("qkv", _Linear), ("proj", _Linear), ("fc1", _Linear), ("fc2", _Linear)),
    )


class _Head(Structure):
    _fields_ = (("norm", _Norm), ("linear", POINTER(_Linear)))


class Network:
    """Layers are added in their order, then `finish`, then only `run`, from any thread.

    All weights are float32 on the CPU and copied while they are added. Every method but `run` raises BackendFailed.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._library = _library(path)
        self._network = c_void_p()
        self._kept: list[torch.Tensor] = []
        """What C has pointers to during a call."""
        self._call("create", c_int(threads), byref(self._network))

    def embed(self, embed: PatchEmbedding, image: tuple[int, int], map_size: tuple[int, int]) -> None:
        linear = _Linear(self._floats(embed.weight), self._floats(embed.bias), *embed.weight.shape)
        norm = _Norm() if embed.norm is None else self._norm(embed.norm)
        sizes = (_Size(*image), _Size(*embed.patch_size), _Size(*map_size))
        self._add("embed", _Embed(*sizes, linear, embed.norm is not None, norm, self._floats(embed.position)))

    def merge(self, merge: Merge, map_size: tuple[int, int]) -> None:
        """map_size: before merging"""
        reduction = self._linear(merge.reduction)
        self._add("merge", _Merge(_Size(*map_size), merge.norm_first, self._norm(merge.norm), reduction))

    def block(self, block: Block) -> None:
        tokens = block.window[0] * block.window[1]
        types, heads = block.bias.shape[:2]
        qkv_weight, qkv_bias, proj_weight = _whole_registers(block)
        depth = proj_weight.shape[1] // heads
        attention = _Attention(self._floats(block.bias), self._floats(block.scale), types, heads, depth, tokens)
        qkv = _Linear(self._floats(qkv_weight), self._floats(qkv_bias), *qkv_weight.shape)
        proj = _Linear(self._floats(proj_weight), self._floats(block.proj.bias), *proj_weight.shape)
        window_type = self._keep(torch.as_tensor(block.window_type, dtype=torch.int32))
        self._add(
            "block",
            _Block(
                *(_Size(*size) for size in (block.size, block.window, block.shift)),
                block.norm_first,
                ctypes.cast(window_type.data_ptr(), POINTER(c_int)),
                attention,
                *(self._norm(norm) for norm in (block.norm1, block.norm2)),
                qkv,
                proj,
                *(self._linear(layer) for layer in (block.fc1, block.fc2)),
            ),
        )

    def head(self, norm: Norm, head: nn.Linear | None) -> None:
        linear = None if head is None else ctypes.pointer(self._linear(head))
        self._add("head", _Head(self._norm(norm), linear))

    def finish(self, largest_batch: int) -> None:
        self._call("finish", self._network, c_int(largest_batch))

    def run(
        self, pixels: torch.Tensor, logits: torch.Tensor, embedding: torch.Tensor, features: torch.Tensor | None
    ) -> None:
        """pixels uint8 (B, H, W, 3), B at most the largest batch -> logits float32 (B, classes), embedding (B, C) and,
        unless it is None, features (B, h, w, C) in the library's type; all of them contiguous, on the CPU.

        The interpreter is free meanwhile; a second thread's call waits for the first.
        """
        written = 0 if features is None else features.data_ptr()
        self._library.swin_run(
            self._network, pixels.data_ptr(), len(pixels), logits.data_ptr(), embedding.data_ptr(), written
        )

    def profile(self) -> dict[str, float]:
        """Seconds in each of STEPS since the last call; the first call starts the clocks, and gives zeros."""
        seconds = (c_double * len(STEPS))()
        self._library.swin_profile(self._network, seconds)
        return dict(zip(STEPS, seconds, strict=True))

    def __del__(self) -> None:
        if getattr(self, "_network", None):
            self._library.swin_destroy(self._network)

    def _add(self, layer: str, weights: Structure) -> None:
        self._call(layer, self._network, byref(weights))
        self._kept.clear()

    def _call(self, name: str, *arguments: Any) -> None:
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        if getattr(self._library, f"swin_{name}")(*arguments, message):
            raise BackendFailed(f"the native engine: {message.value.decode()}")

    def _linear(self, layer: nn.Linear) -> _Linear:
        return _Linear(self._floats(layer.weight), self._floats(layer.bias), layer.out_features, layer.in_features)

    def _norm(self, norm: Norm) -> _Norm:
        return _Norm(self._floats(norm.weight), self._floats(norm.bias), norm.width, norm.eps)

    def _floats(self, tensor: torch.Tensor | None) -> Any:
        if tensor is None:
            return _NONE
        return ctypes.cast(self._keep(tensor.detach().float()).data_ptr(), _FLOATS)

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        self._kept.append(tensor.contiguous())
        return self._kept[-1]


def _whole_registers(block: Block) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The weight (3·heads·d', C) and bias of qkv and the weight (C, heads·d') of proj, each head padded with zeros from
    its d channels to d', a multiple of a register's 16 lanes. In V1, q is for exponentials to the base 2; in V2 it is
    normalised anyway.
    """
    heads = block.bias.shape[1]
    depth = block.qkv.out_features // (3 * heads)
    missing = -depth % 16
    weight = block.qkv.weight.float().view(3, heads, depth, -1)
    given = block.qkv.bias
    bias = weight.new_zeros(weight.shape[:3]) if given is None else given.float().view(3, heads, depth)
    if block.scale is None:
        base = torch.tensor([math.log2(math.e), 1.0, 1.0])
        weight, bias = weight * base.view(3, 1, 1, 1), bias * base.view(3, 1, 1)
    proj = pad(block.proj.weight.float().view(-1, heads, depth), (0, missing))
    return pad(weight, (0, 0, 0, missing)).flatten(0, 2), pad(bias, (0, missing)).flatten(), proj.flatten(1)


def _library(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
        for name in ("create", "embed", "merge", "block", "head", "finish"):
            getattr(library, f"swin_{name}").restype = c_int
        library.swin_create.argtypes = (c_int, c_void_p, c_char_p)
        library.swin_run.argtypes = (c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p)
        library.swin_run.restype = None
        library.swin_profile.argtypes = (c_void_p, POINTER(c_double))
        library.swin_profile.restype = None
        library.swin_destroy.argtypes = (c_void_p,)
        library.swin_destroy.restype = None
    except (OSError, AttributeError) as error:
        raise BackendFailed(f"{path.name} cannot be loaded: {error}") from error
    return library
