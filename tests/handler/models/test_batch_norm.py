"""Folding must never change an answer, whatever stands in a Sequential."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from swin_handler.models import fold_batch_norm


@torch.inference_mode()
def folded_error(model: nn.Module, size: int) -> float:
    """Relative L2 of the answers before and after, with norms that do something."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "bias" not in name else -0.5))
    images = torch.randn(2, 3, size, size, generator=generator)
    before = model.eval()(images)
    fold_batch_norm(model)
    return float((model(images) - before).norm() / before.norm())


def test_a_convolution_and_its_norm_become_one_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    assert folded_error(model, 8) < 1e-6
    assert [type(layer) for layer in model] == [nn.Conv2d, nn.Identity, nn.ReLU, nn.Conv2d]


def test_a_norm_that_also_activates_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), BatchNormAct2d(8))
    assert folded_error(model, 8) == 0
    assert type(model[1]) is BatchNormAct2d


@pytest.mark.parametrize("name", ["shunted_tiny", "resnetv2_18d", "densenet121", "resnet18d", "pvt_v2_b0"])
def test_models_answer_as_before(name: str) -> None:
    torch.manual_seed(2)
    assert folded_error(timm.create_model(name), 64) < 1e-5
