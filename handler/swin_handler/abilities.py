"""Model -> what it can give beside logits, found out by running it: nothing is guessed from its name.

The builder runs this once and writes the findings into the manifest; the worker trusts them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import nn

from swin_handler.activation_map import channels_last
from swin_handler.config import Abilities

_TOLERANCE = 1e-4
"""Of the largest number compared: far above float32's rounding, far below another way of pooling."""


class SplitModel(Protocol):
    """timm's way to run a model in two halves."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor: ...
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor: ...
    def get_classifier(self) -> nn.Module: ...


@torch.inference_mode()
def abilities(module: nn.Module, input_size: Sequence[int]) -> Abilities:
    """module: float32, on the CPU, in eval mode; input_size: (channels, height, width)"""
    noise = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    answer = module(noise)
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
        return Abilities()
    if module.num_classes == 0:  # no head: what it answers is the embedding
        return Abilities(answer.shape[1])
    if not _splits(module):
        return Abilities()
    halves = cast(SplitModel, module)
    features = halves.forward_features(noise)
    embedding = halves.forward_head(features, pre_logits=True)
    if not isinstance(embedding, torch.Tensor) or embedding.ndim != 2:
        return Abilities()
    if not _agree(halves.forward_head(features), answer):
        return Abilities()
    return Abilities(embedding.shape[1], _map_size(halves.get_classifier(), features, embedding, answer))


def _map_size(
    classifier: nn.Module, features: object, embedding: torch.Tensor, logits: torch.Tensor
) -> tuple[int, int] | None:
    """(h, w) if the logits are the mean over places of a class activation map."""
    if type(classifier) is not nn.Linear or (places := channels_last(features, classifier.in_features)) is None:
        return None
    # W·f + b averaged is W·mean(f) + b. The first line says the same of the pooling alone: in untrained weights the
    # logits may be too small to tell one way of pooling from another.
    mean = places.mean(dim=(1, 2))
    if not _agree(mean, embedding) or not _agree(classifier(places).mean(dim=(1, 2)), logits):
        return None
    return places.shape[1], places.shape[2]


def _splits(module: nn.Module) -> bool:
    if not all(hasattr(module, name) for name in ("forward_features", "forward_head", "get_classifier")):
        return False
    return "pre_logits" in inspect.signature(cast(SplitModel, module).forward_head).parameters


def _agree(actual: object, expected: torch.Tensor) -> bool:
    if not isinstance(actual, torch.Tensor) or actual.shape != expected.shape:
        return False
    return bool((actual - expected).abs().max() <= _TOLERANCE * expected.abs().max())
