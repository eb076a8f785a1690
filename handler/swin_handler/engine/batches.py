"""Forward passes of fixed sizes -> an engine for batches of any size: split, pad if need be, run, cut."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Protocol

import torch

from swin_handler.activation_map import class_maps
from swin_handler.engine import normalised
from swin_handler.engine.forward import AnySize, Forward, Startable
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs, joined


class Engine(Protocol):
    backend: str
    dtype: str
    buckets: tuple[int, ...]
    note: str
    """Why a safe default serves instead of what was tuned; empty: it does not."""
    ahead: int
    """With so many images a forward pass is begun while the rest of their batch is still decoded; 0: with none, the
    device being the CPU, which has better things to do."""

    def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
        """As `run`, for no more than the largest bucket; a device beside the CPU is at it when this returns."""

    def run(self, pixels: torch.Tensor) -> Outputs:
        """uint8 (B, H, W, 3) on the CPU, for any B from 1 up; one forward pass gives everything in Outputs.

        Raises ValueError for pixels of another shape or type.
        """

    def activation_maps(self, features: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        """One image's features (h, w, C), of Outputs -> float32 (classes, h, w) on the CPU; each map's mean is the
        class's logit."""

    def padded(self, size: int) -> int:
        """As how many `size` images, at most the largest bucket, are computed."""


PARTS = 4
"""Into which a batch is cut on a device beside the CPU: it idles while the first of them is decoded, the CPU while it
computes the last."""
SMALLEST_PART = 8
"""Fewer images take a GPU as long as so many."""


class BatchEngine:
    """An Engine over one forward pass for each batch bucket."""

    def __init__(
        self,
        model: LoadedModel,
        forwards: Mapping[int, Forward],
        choice: Mapping[int, str],
        *,
        dtype: str,
        device: torch.device,
        note: str = "",
    ) -> None:
        """choice: batch bucket -> the backend that made its forward pass; note: why these are not the tuned ones"""
        self.buckets = tuple(sorted(forwards))
        self._image = (*model.data_config["input_size"][-2:], 3)
        self.backend = "+".join(dict.fromkeys(choice[bucket] for bucket in self.buckets))
        self.dtype = dtype
        self.note = note
        least = max(SMALLEST_PART, self.buckets[-1] / PARTS)
        beside = all(isinstance(forward, Startable) for forward in forwards.values())
        self.ahead = next((bucket for bucket in self.buckets if bucket >= least), 0) if beside else 0
        self._forwards = forwards
        # A copy: the model itself, in float32, need not stay in memory.
        layer = normalised.classifier(model) if model.abilities.activation_map else None
        self._classifier = None if layer is None else deepcopy(layer).to(device)

    def padded(self, size: int) -> int:
        bucket = self._bucket(size)
        return size if isinstance(self._forwards[bucket], AnySize) else bucket

    def _bucket(self, size: int) -> int:
        return self.buckets[bisect.bisect_left(self.buckets, size)]

    def run(self, pixels: torch.Tensor) -> Outputs:
        # All are started before the first is waited for: a GPU takes the next chunk in while it computes.
        started = [self.start(chunk) for chunk in torch.split(pixels, self.buckets[-1])]
        chunks = [answer() for answer in started]
        return chunks[0] if len(chunks) == 1 else joined(chunks)

    @torch.inference_mode()
    def start(self, pixels: torch.Tensor) -> Callable[[], Outputs]:
        # Asked here once for all: a backend of compiled code would read whatever lies behind smaller images.
        if pixels.dtype != torch.uint8 or pixels.shape[1:] != self._image or not len(pixels):
            height, width, _ = self._image
            found = f"{str(pixels.dtype).removeprefix('torch.')} {tuple(pixels.shape)}"
            raise ValueError(f"pixels must be uint8 (B, {height}, {width}, 3) with B of 1 or more, not {found}")
        size = len(pixels)
        forward = self._forwards[self._bucket(size)]
        if size < (padded := self.padded(size)):
            filled = pixels.new_zeros(padded, *pixels.shape[1:])
            filled[:size] = pixels
            pixels = filled
        if isinstance(forward, Startable):
            answer = forward.start(pixels.contiguous())
            return lambda: answer().first(size)
        outputs = forward(pixels.contiguous()).first(size)
        return lambda: outputs

    def activation_maps(self, features: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
        assert self._classifier is not None, "without it there were no features"
        return class_maps(features, self._classifier, classes).cpu()
