"""One module for a plan: Swin in its inference form, any other classifier as timm has it; the answers are the same."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from swin_handler.config import Abilities
from swin_handler.engine.network import network
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.plan import TORCH_DTYPES, Plan
from swin_handler.model import LoadedModel
from swin_handler.models.inference import InferenceSwin
from swin_handler.outputs import Outputs
from tests.handler.small_models import MAPPED, UNMAPPED, classifier, loaded

SWINS = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"]
SMALL: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    name: (case[0], case[1])
    for name, case in {**MAPPED, **UNMAPPED}.items()
    if name in (*SWINS, "resnet18", "convnext_atto", "deit_tiny_distilled_patch16_224")
}


def plan(dtype: str = "float32") -> Plan:
    return Plan("eager", dtype, (1, 2), torch.device("cpu"), 2)


def small(name: str, **arguments: Any) -> LoadedModel:
    given, size = SMALL[name]
    return loaded(classifier(name, given, **arguments), size)


def pixels(model: LoadedModel) -> torch.Tensor:
    size = model.data_config["input_size"][1:]
    return torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


@torch.inference_mode()
def answer(module: Any, images: torch.Tensor) -> Outputs:
    outputs: Outputs = module(images)
    return outputs


def assert_close(actual: Outputs, expected: Outputs, bound: float) -> None:
    for got, wanted in zip(actual, expected, strict=True):
        assert (got is None) == (wanted is None)
        if got is not None and wanted is not None:
            assert got.shape == wanted.shape
            assert got.dtype == wanted.dtype
            assert float((got - wanted).norm()) <= bound * float(wanted.norm())


@pytest.mark.parametrize("name", SMALL)
def test_the_answer_is_that_of_the_model_itself(name: str) -> None:
    model = small(name)
    images = pixels(model)
    assert_close(answer(network(model, plan()), images), answer(NormalisedModel(model), images), 1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_in_bfloat16_it_differs_by_rounding_and_the_model_stays_as_it_was(name: str) -> None:
    model = small(name)
    images = pixels(model)
    stock = NormalisedModel(deepcopy(model))
    stock.round_to(TORCH_DTYPES["bfloat16"])
    assert_close(answer(network(model, plan("bfloat16")), images), answer(stock, images), 0.05)
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", SWINS)
def test_without_a_head_there_are_embeddings_alone(name: str) -> None:
    model = small(name, num_classes=0)
    images = pixels(model)
    got = answer(network(model, plan()), images)
    assert got.logits.shape == (2, 0)
    assert_close(got, answer(NormalisedModel(model), images), 1e-5)


def test_features_come_only_from_models_that_have_class_activation_maps() -> None:
    model = small(SWINS[0])
    without = LoadedModel(model.module, model.data_config, model.labels, Abilities(model.abilities.embedding_size))
    assert answer(network(model, plan()), pixels(model)).features is not None
    assert answer(network(without, plan()), pixels(model)).features is None


def test_swin_runs_in_its_inference_form_and_nothing_else_does() -> None:
    assert {name: isinstance(network(small(name), plan()), InferenceSwin) for name in SMALL} == {
        name: name in SWINS for name in SMALL
    }
