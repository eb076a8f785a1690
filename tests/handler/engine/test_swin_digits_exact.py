"""Compiled backends on the test digits of swin_digits: timm's answers, number for number in float32."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_handler import engine, model
from swin_handler.build import archive, weights
from swin_handler.config import Manifest
from swin_handler.engine import compiler
from swin_handler.engine.probe import relative_l2
from swin_handler.model import LoadedModel
from tests.handler.conftest import options, unpack
from tests.handler.engine.test_native import HAS

STORE = Path(__file__).resolve().parents[3] / "model_store"
BUCKET = 50
"""Nine forward passes for the 450 digits."""
BOUNDS = {"float32": 1e-5, "bfloat16": 1e-2}


@pytest.fixture(scope="module")
def training() -> Iterator[Any]:
    """The training script, for its split and its drawings."""
    sys.path.insert(0, str(STORE))
    import train_swin_digits

    yield train_swin_digits
    sys.path.remove(str(STORE))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """As a worker loads it."""
    folder = tmp_path_factory.mktemp("digits")
    classifier = weights.load("swin_digits")
    path, _ = archive.write(classifier, classifier.label_names or (), options(name="swin_digits"), folder)
    unpacked = unpack(path, folder / "unpacked")
    return model.load(unpacked, Manifest.read(unpacked))


@pytest.fixture(scope="module")
def pixels(training: Any) -> torch.Tensor:
    """uint8 (450, 32, 32, 3): the test quarter, dark on light, light on dark and in colours"""
    held_out, generator = training.split_digits()["test"].digits, torch.Generator().manual_seed(0)
    drawn = []
    for name, part in zip(("dark-on-light", "light-on-dark", "coloured"), held_out.chunk(3), strict=True):
        variant = training.VARIANTS[name]
        look = training.random_look(len(part), variant.paint, variant.looseness, generator)
        drawn.append(training.render(part, look, 32, 32))  # (B, 3, H, W)
    return torch.cat(drawn).permute(0, 2, 3, 1).contiguous()


@pytest.fixture(scope="module")
def expected(digits: LoadedModel, pixels: torch.Tensor) -> torch.Tensor:
    """Logits (450, 10) of timm's own module in float32"""
    mean, std = (torch.tensor(digits.data_config[name]).view(3, 1, 1) for name in ("mean", "std"))
    images = pixels.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)  # (B, 3, H, W)
    with torch.inference_mode():
        logits: torch.Tensor = digits.module(images)
    return logits


CASES = [
    pytest.param("native", dtype, marks=pytest.mark.skipif(not HAS[dtype], reason="not this CPU")) for dtype in BOUNDS
] + [pytest.param("inductor", "float32", marks=pytest.mark.skipif(not compiler.find(), reason="no C++ compiler"))]


@pytest.mark.parametrize(("backend", "dtype"), CASES)
def test_every_test_digit_is_answered_as_timm_answers_it(
    digits: LoadedModel, pixels: torch.Tensor, expected: torch.Tensor, backend: str, dtype: str
) -> None:
    made = engine.build(
        digits, device=torch.device("cpu"), dtype=dtype, buckets=(BUCKET,), backend=backend, threads=2
    )  # fmt: skip
    got = made.run(pixels).logits
    error = relative_l2(got, expected)
    print(f"\n{backend} {dtype}: relative L2 {error:.1e} over {len(pixels)} digits")
    assert error <= BOUNDS[dtype]
    assert torch.equal(got.argmax(dim=1), expected.argmax(dim=1))
