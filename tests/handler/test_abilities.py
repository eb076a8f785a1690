from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from swin_handler.abilities import abilities
from swin_handler.config import Abilities
from tests.handler.small_models import MAPPED, UNMAPPED, classifier


@pytest.mark.parametrize(("name", "case"), MAPPED.items(), ids=MAPPED)
def test_mean_pooled_models_have_embeddings_and_maps(name: str, case: Any) -> None:
    arguments, size, embedding_size, map_size = case
    assert abilities(classifier(name, arguments), (3, *size)) == Abilities(embedding_size, map_size)


@pytest.mark.parametrize(("name", "case"), UNMAPPED.items(), ids=UNMAPPED)
def test_models_that_pool_otherwise_have_embeddings_alone(name: str, case: Any) -> None:
    arguments, size, embedding_size = case
    assert abilities(classifier(name, arguments), (3, *size)) == Abilities(embedding_size, None)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet18", "shunted_tiny"])
def test_a_model_without_a_head_has_no_maps(name: str) -> None:
    arguments, size, embedding_size, _map_size = MAPPED[name]
    assert abilities(classifier(name, arguments, num_classes=0), (3, *size)) == Abilities(embedding_size, None)


class Pooled(nn.Module):
    """Mean over places, then a linear layer; the subclasses each break one thing."""

    num_classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 4, stride=4)
        self.head = nn.Linear(8, 4)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.head(pooled)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class ForwardIsSomethingElse(Pooled):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


class NoPreLogits(Pooled):
    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_head(x)


class NoHalves(Pooled):
    forward_features = property()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.body(x))


class SeveralAnswers(Pooled):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(x), x


class MaxPooled(Pooled):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.amax(dim=(2, 3))
        return pooled if pre_logits else self.head(pooled)


class ScaledAfterwards(Pooled):
    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        answer = super().forward_head(x, pre_logits)
        return answer if pre_logits else answer * 1.001


class ConvolutionalHead(Pooled):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(8, 4, 1)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return (pooled if pre_logits else self.head(pooled)).flatten(1)


class TokensNotMaps(Pooled):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x).flatten(2).transpose(1, 2)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=1)
        return pooled if pre_logits else self.head(pooled)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Pooled, Abilities(8, (4, 6))),
        (ForwardIsSomethingElse, Abilities()),
        (NoPreLogits, Abilities()),
        (NoHalves, Abilities()),
        (SeveralAnswers, Abilities()),
        (MaxPooled, Abilities(8)),
        (ScaledAfterwards, Abilities(8)),
        (ConvolutionalHead, Abilities(8)),
        (TokensNotMaps, Abilities(8)),
    ],
)
def test_what_is_not_seen_in_numbers_is_not_promised(kind: type[Pooled], expected: Abilities) -> None:
    torch.manual_seed(0)
    assert abilities(kind().eval(), (3, 16, 24)) == expected


def test_a_head_of_zeros_does_not_hide_how_the_model_pools() -> None:
    module = MaxPooled().eval()
    nn.init.zeros_(module.head.weight)
    assert abilities(module, (3, 16, 24)) == Abilities(8)


def test_a_map_that_can_be_read_two_ways_is_none() -> None:
    """8 rows, 8 channels: (B, C, h, w) and (B, h, w, C) look the same."""
    assert abilities(Pooled().eval(), (3, 16, 32)).activation_map is None


def test_a_square_map_of_other_channels_is_one() -> None:
    assert abilities(Pooled().eval(), (3, 20, 20)) == Abilities(8, (5, 5))
