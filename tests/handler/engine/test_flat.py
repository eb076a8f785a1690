from __future__ import annotations

import pytest
import torch

from swin_handler.engine import flat
from swin_handler.engine.flat import FlatNetwork
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.model import LoadedModel
from tests.handler import small_models
from tests.handler.test_abilities import NoHalves

SIZE = (64, 96)


def swin(classes: int = small_models.CLASSES) -> LoadedModel:
    name = "swin_tiny_patch4_window7_224"
    return small_models.loaded(small_models.classifier(name, small_models.MAPPED[name][0], classes), SIZE)


def vit() -> LoadedModel:
    name = "vit_tiny_patch16_224"
    return small_models.loaded(small_models.classifier(name, small_models.UNMAPPED[name][0]), SIZE)


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (swin(), ("logits", "embedding", "features")),
        (vit(), ("logits", "embedding")),
        (small_models.loaded(NoHalves().eval(), SIZE), ("logits",)),
        (swin(classes=0), ("embedding",)),
    ],
    ids=["with maps", "without maps", "logits alone", "no head"],
)
@torch.inference_mode()
def test_outputs_survive_being_flattened(model: LoadedModel, parts: tuple[str, ...]) -> None:
    assert flat.parts(model) == parts
    network = NormalisedModel(model)
    pixels = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8)
    expected, tensors = network(pixels), FlatNetwork(network, parts)(pixels)
    assert len(tensors) == len(parts)
    for one, other in zip(flat.outputs(parts, tensors), expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def test_logits_are_float32_whatever_a_compiler_gives() -> None:
    outputs = flat.outputs(("embedding",), [torch.ones(2, 3, dtype=torch.bfloat16)])
    assert (outputs.logits.shape, outputs.logits.dtype) == ((2, 0), torch.float32)
    assert outputs.embedding.dtype == torch.bfloat16
