"""The native engine answers as the model does: in every dtype, for every shape of window, however work is shared."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from swin_handler.engine import cpu, native
from swin_handler.engine.forward import Forward
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.plan import Plan
from swin_handler.engine.probe import relative_l2
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs
from tests.handler import small_models
from tests.handler.goldens import checkpoint
from tests.handler.models.test_golden import built

CPU = torch.device("cpu")
HAS = {
    "float32": cpu.has_avx512(),
    "bfloat16": cpu.has_avx512_bfloat16(),
    "int8": cpu.has_avx512_bfloat16() and cpu.has_avx512_int8(),
}
DTYPES = [pytest.param(dtype, marks=pytest.mark.skipif(not has, reason="not this CPU")) for dtype, has in HAS.items()]
needs_bfloat16 = pytest.mark.skipif(not HAS["bfloat16"], reason="not this CPU")
GOLDENS = [name for name in checkpoint.case_names() if name.startswith("swin")]
Load = Callable[..., Forward]


def plan(dtype: str, batch: int = 4, threads: int = 2) -> Plan:
    return Plan("native", dtype, (batch,), CPU, threads)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """(model, dtype, batch, threads) -> its forward pass; each library is compiled once."""

    @functools.cache
    def prepared(dtype: str) -> Path:
        folder = tmp_path_factory.mktemp(dtype)
        native.prepare(_unused(), plan(dtype), folder)
        return folder

    def forward(model: LoadedModel, dtype: str, batch: int = 4, threads: int = 2) -> Forward:
        return native.load(model, plan(dtype, batch, threads), prepared(dtype))[batch]

    return forward


def _unused() -> Any:
    """The library does not depend on the model."""
    return None


V1, V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
SHAPES: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "whole windows, not square": ((64, 96), {"window_size": 4, "embed_dim": 24, "num_heads": (2, 4), "depths": (2, 2)}),
    "padded and shifted": ((64, 96), {"window_size": 7, "embed_dim": 24, "num_heads": (2, 3), "depths": (2, 2)}),
    "odd maps": ((72, 104), {"window_size": 3, "embed_dim": 20, "num_heads": (1, 2, 4), "depths": (2, 2, 2)}),
    "window 12": ((128, 128), {"window_size": 12, "embed_dim": 48, "num_heads": (3, 6), "depths": (2, 2)}),
    "window 16": ((128, 64), {"window_size": 16, "embed_dim": 64, "num_heads": (2, 4), "depths": (2, 2)}),
    "window 24": ((192, 192), {"window_size": 24, "embed_dim": 32, "num_heads": (2, 4), "depths": (1, 1)}),
}


def shaped(name: str, shape: str, *, spread: float = 0.5, classes: int = 11) -> LoadedModel:
    """Few channels, random weights, position biases and norms that matter."""
    torch.manual_seed(1)
    size, arguments = SHAPES[shape]
    module = timm.create_model(name, img_size=size, num_classes=classes, **arguments).eval()
    for parameter_name, parameter in module.named_parameters():
        if "bias_table" in parameter_name:
            nn.init.normal_(parameter, std=spread)
        elif "norm" in parameter_name:
            nn.init.normal_(parameter, mean=float(parameter_name.endswith("weight")), std=0.2)
        elif "head" in parameter_name:
            nn.init.normal_(parameter, std=0.3)
    return small_models.loaded(module, size)


def noise(model: LoadedModel, batch: int = 4) -> torch.Tensor:
    size = model.data_config["input_size"][1:]
    return torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def timm_answers(model: LoadedModel, pixels: torch.Tensor, dtype: torch.dtype = torch.float32) -> Outputs:
    module = NormalisedModel(model if dtype == torch.float32 else deepcopy(model))
    module.round_to(dtype)
    return module(pixels)


def bound(model: LoadedModel, dtype: str, pixels: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2 allowed: V2's cosine attention amplifies rounding, so what timm itself loses counts too."""
    if dtype == "float32":
        return 1e-5
    stock = relative_l2(timm_answers(model, pixels, torch.bfloat16).answer, expected)
    return max(1e-2, 1.2 * stock) if dtype == "bfloat16" else max(5e-2, 5 * stock)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GOLDENS)
def test_the_reference_implementations_models_are_answered_exactly(load: Load, name: str, dtype: str) -> None:
    case = checkpoint.load_case(name)
    model = small_models.loaded(built(case), tuple(case["input"]["shape"][2:]))
    pixels = noise(model, 2)
    # These weights amplify rounding until timm's own float32 is off by 8e-6: float32 is held against float64.
    expected = timm_answers(model, pixels, torch.float64 if dtype == "float32" else torch.float32)
    outputs = load(model, dtype, 2)(pixels)
    error = relative_l2(outputs.answer, expected.answer)
    print(f"\n{name:36} {dtype} relative L2 {error:.1e}")
    strict = dtype == "bfloat16" and not name.startswith("swinv2")
    assert error <= (1e-2 if strict else bound(model, dtype, pixels, expected.answer))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [V1, V2])
@pytest.mark.parametrize("shape", SHAPES)
def test_windows_of_every_shape_give_what_timm_gives(load: Load, shape: str, name: str, dtype: str) -> None:
    model = shaped(name, shape)
    pixels = noise(model)
    expected = timm_answers(model, pixels)
    outputs = load(model, dtype)(pixels)
    allowed = bound(model, dtype, pixels, expected.answer)
    assert relative_l2(outputs.logits, expected.logits) <= allowed
    assert relative_l2(outputs.embedding.float(), expected.embedding) <= 2 * allowed
    assert relative_l2(outputs.features.float(), expected.features) <= 4 * allowed  # not averaged


@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_have_the_types_and_shapes_of_the_models_own(load: Load, dtype: str) -> None:
    model = shaped(V1, "padded and shifted")
    outputs = load(model, dtype, 3)(noise(model, 3))
    assert outputs.logits.dtype == torch.float32
    assert outputs.logits.shape == (3, 11)
    rounded = torch.float32 if dtype == "float32" else torch.bfloat16
    assert (outputs.embedding.dtype, outputs.embedding.shape) == (rounded, (3, 48))
    assert (outputs.features.dtype, outputs.features.shape) == (rounded, (3, 8, 12, 48))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [V1, V2])
def test_an_answer_depends_neither_on_threads_nor_on_the_rest_of_the_batch(load: Load, name: str, dtype: str) -> None:
    model = shaped(name, "padded and shifted")
    pixels = noise(model, 9)
    expected = load(model, dtype, 9, threads=1)(pixels).logits
    for threads in (1, 2, 3, 4):
        forward = load(model, dtype, 9, threads)
        for batch in range(1, 10):
            logits = torch.cat([forward(part.contiguous()).logits for part in pixels.split(batch)])
            assert torch.equal(logits, expected), (threads, batch)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_without_a_head_gives_embeddings(load: Load, dtype: str) -> None:
    model = shaped(V1, "whole windows, not square", classes=0)
    pixels = noise(model)
    expected = timm_answers(model, pixels)
    outputs = load(model, dtype)(pixels)
    assert outputs.logits.shape == (4, 0)
    assert outputs.features is None
    assert relative_l2(outputs.answer, expected.answer) <= bound(model, dtype, pixels, expected.answer)


def test_weights_that_lie_far_below_the_largest_of_their_neighbours_are_kept(load: Load) -> None:
    """The softmax of a few rows shares one reference; rows more than e^55 below it need their own."""
    model = shaped(V1, "whole windows, not square", spread=60.0)
    pixels = noise(model)
    expected = timm_answers(model, pixels)
    assert relative_l2(load(model, "float32")(pixels).logits, expected.logits) <= 1e-5


@needs_bfloat16
def test_calls_from_several_threads_answer_their_own_pixels(load: Load) -> None:
    model = shaped(V1, "whole windows, not square")
    forward = load(model, "bfloat16")
    batches = [noise(model).roll(shift, 0).contiguous() for shift in range(4)]
    expected = [forward(pixels).logits for pixels in batches]
    wrong: list[int] = []

    def ask(index: int) -> None:
        for _ in range(50):
            if not torch.equal(forward(batches[index]).logits, expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
