"""A small model of each family on noise, and what its outputs are held against; for the backends' tests."""

from __future__ import annotations

import torch

from swin_handler.engine.normalised import NormalisedModel
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs
from tests.handler import small_models

SIZE = (64, 96)


def small(name: str, classes: int = small_models.CLASSES) -> LoadedModel:
    arguments = {**small_models.MAPPED, **small_models.UNMAPPED}[name][0]
    return small_models.loaded(small_models.classifier(name, arguments, classes), SIZE)


def noise(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (size, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def assert_answers_as(model: LoadedModel, outputs: Outputs, pixels: torch.Tensor, bound: float) -> None:
    with torch.inference_mode():
        expected = NormalisedModel(model)(pixels)
    for one, other in zip(outputs, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or one.shape == other.shape
        assert one is None or not one.numel() or float((one - other).norm() / other.norm()) < bound
