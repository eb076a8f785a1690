from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from swin_handler import engine
from swin_handler.activation_map import channels_last, class_maps
from swin_handler.result import wire
from tests.handler.small_models import CLASSES, MAPPED, UNMAPPED, classifier, loaded

CPU = torch.device("cpu")


def noise(count: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("name", "case"), MAPPED.items(), ids=MAPPED)
def test_the_mean_of_a_map_is_the_logit(name: str, case: Any) -> None:
    arguments, size, _embedding_size, map_size = case
    made = engine.build(
        loaded(classifier(name, arguments), size), device=CPU, dtype="float32", buckets=(2,), backend="eager"
    )
    outputs = made.run(noise(3, size))
    for features, logits in zip(outputs.features, outputs.logits, strict=True):
        classes = logits.argsort(descending=True)[:4].tolist()
        maps = made.activation_maps(features, classes)
        assert (maps.shape, maps.dtype) == ((4, *map_size), torch.float32)
        assert float(maps.std(dim=(1, 2)).min()) > 0.01  # it says something of each place
        torch.testing.assert_close(maps.mean(dim=(1, 2)), logits[classes], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MAPPED)
def test_a_map_has_the_rows_and_columns_of_the_picture(name: str) -> None:
    """Of the forward hook's features, place by place, by the classifier itself: none is moved or turned."""
    arguments, size, _embedding_size, (height, width) = MAPPED[name]
    module = classifier(name, arguments)
    pixels = noise(1, size)
    made = engine.build(loaded(module, size), device=CPU, dtype="float32", buckets=(1,), backend="eager")
    maps = made.activation_maps(made.run(pixels).features[0], range(CLASSES))
    with torch.inference_mode():
        features = module.forward_features(normalised(pixels))
        places = features if features.shape[1] == height else features.permute(0, 2, 3, 1)
        for row in range(height):
            for column in range(width):
                expected = module.get_classifier()(places[0, row, column])
                torch.testing.assert_close(maps[:, row, column], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "case"), {**MAPPED, **UNMAPPED}.items(), ids={**MAPPED, **UNMAPPED})
def test_embeddings_and_logits_are_timms(name: str, case: Any) -> None:
    arguments, size, embedding_size = case[:3]
    module = classifier(name, arguments)
    made = engine.build(loaded(module, size), device=CPU, dtype="float32", buckets=(2,), backend="eager")
    outputs = made.run(noise(2, size))
    with torch.inference_mode():
        x = normalised(noise(2, size)).contiguous()
        logits, pooled = module(x), module.forward_head(module.forward_features(x), pre_logits=True)
    assert outputs.embedding.shape == (2, embedding_size)
    torch.testing.assert_close(outputs.embedding, pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs.logits, logits, atol=1e-5, rtol=1e-5)


def test_in_bfloat16_a_map_is_float32_of_the_rounded_features() -> None:
    arguments, size, _embedding_size, _map_size = MAPPED["swin_tiny_patch4_window7_224"]
    held = loaded(classifier("swin_tiny_patch4_window7_224", arguments), size)
    made = engine.build(held, device=CPU, dtype="bfloat16", buckets=(1,), backend="eager")
    outputs = made.run(noise(1, size))
    maps = made.activation_maps(outputs.features[0], range(CLASSES))
    assert outputs.features.dtype == torch.bfloat16
    head = held.module.get_classifier()
    exact = outputs.features[0].double() @ head.weight.double().T + head.bias.double()
    torch.testing.assert_close(maps, exact.permute(2, 0, 1).float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), outputs.logits[0], atol=5e-2, rtol=1e-2)


@pytest.mark.parametrize("bias", [True, False], ids=["with bias", "without"])
def test_maps_follow_the_order_of_the_classes(bias: bool) -> None:
    head = nn.Linear(3, 5, bias=bias)
    features = torch.randn(2, 4, 3)
    expected = torch.nn.functional.linear(features, head.weight, head.bias).permute(2, 0, 1)
    torch.testing.assert_close(class_maps(features, head, (4, 0, 2)), expected[[4, 0, 2]].detach())
    assert class_maps(features, head, ()).shape == (0, 2, 4)


def test_channels_are_put_last_or_the_map_is_none() -> None:
    assert channels_last(torch.zeros(2, 8, 3, 5), 8).shape == (2, 3, 5, 8)
    assert channels_last(torch.zeros(2, 3, 5, 8), 8).shape == (2, 3, 5, 8)
    for unclear in (torch.zeros(2, 8, 3, 8), torch.zeros(2, 3, 5, 7), torch.zeros(2, 15, 8), [torch.zeros(2, 8, 3, 5)]):
        assert channels_last(unclear, 8) is None


def test_numbers_go_out_as_little_endian_float32() -> None:
    assert wire(torch.tensor([[1.0, -2.0]])) == bytes.fromhex("0000803f000000c0")
    assert wire(torch.arange(6.0).view(2, 3).T) == wire(torch.tensor([0.0, 3, 1, 4, 2, 5]))
