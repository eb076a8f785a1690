"""int8 by NNCF, shown on the digits, where the truth is known; `-s` prints the report."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from swin_handler import model
from swin_handler.abilities import abilities
from swin_handler.build import agreement, calibration, quantise, table, weights
from swin_handler.config import HandlerConfig
from swin_handler.engine import openvino
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel
from tests.handler import small_models

STORE = Path(__file__).resolve().parents[3] / "model_store"
PLAN = Plan("openvino", "int8", (8,), torch.device("cpu"), threads=2)
CALIBRATION_IMAGES = 96


@pytest.fixture(scope="module")
def digits() -> LoadedModel:
    found = weights.load("swin_digits", checkpoint=None, random_weights=False)
    data_config = model.preprocessing(found.pretrained_cfg)
    return LoadedModel(
        found.module, data_config, tuple(found.label_names), abilities(found.module, data_config["input_size"])
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory):
    """(part of the split, how many) -> a folder of PNGs, one folder in it for each digit's name"""
    sys.path.insert(0, str(STORE))
    training = importlib.import_module("train_swin_digits")
    sys.path.remove(str(STORE))

    def draw(name: str, count: int) -> Path:
        part, folder = training.split_digits()[name], tmp_path_factory.mktemp(name)
        how = training.VARIANTS["coloured"]
        look = training.random_look(count, how.paint, how.looseness, torch.Generator().manual_seed(3))
        drawn = training.render(part.digits[:count], look, how.height, how.width)
        for index, (picture, label) in enumerate(zip(drawn, part.labels, strict=False)):
            (folder / training.LABELS[label]).mkdir(exist_ok=True)
            training.to_pil(picture, how.jpeg_quality).save(folder / training.LABELS[label] / f"{index}.png")
        return folder

    return draw


@pytest.fixture(scope="module")
def quantised(digits: LoadedModel, pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrated on digits of the training part. Read only."""
    folder = tmp_path_factory.mktemp("quantised")
    images = calibration.read(pictures("train", CALIBRATION_IMAGES), digits, HandlerConfig(), table.console())
    quantise.quantise(digits, images.pixels, folder)
    return folder


def test_int8_knows_the_digits_of_the_test_quarter(digits: LoadedModel, pictures, quantised: Path) -> None:
    console = table.console()
    to_judge = calibration.read(pictures("test", 450), digits, HandlerConfig(), console)
    assert bool((to_judge.truth != calibration.UNKNOWN).all())
    openvino.prepare(digits, PLAN, quantised)
    forward = openvino.load(digits, PLAN, quantised)[8]
    expected = agreement.answers(NormalisedModel(digits), to_judge.pixels, batch=50, what="float32", console=console)
    actual = agreement.answers(forward, to_judge.pixels, batch=8, what="int8", console=console)
    found = agreement.measure(actual, expected, to_judge.truth)
    agreement.show({"openvino": found}, console)
    assert (found.images, found.known) == (450, 450)
    assert found.share >= agreement.LEAST
    assert found.right >= 0.98 * 450
    assert 1e-3 < found.relative_l2 < 0.2  # not float32 in disguise


def test_its_weights_are_in_int8(digits: LoadedModel, quantised: Path) -> None:
    parameters = sum(parameter.numel() for parameter in digits.module.parameters())
    assert (quantised / "model.bin").stat().st_size < 1.6 * parameters
    assert 'element_type="i8"' in (quantised / "model.xml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_other_classifiers_are_quantised_too(tmp_path: Path, name: str) -> None:
    arguments, size = {**small_models.MAPPED, **small_models.UNMAPPED}[name][:2]
    loaded = small_models.loaded(small_models.classifier(name, arguments), size)
    pixels = torch.randint(0, 256, (8, *size, 3), dtype=torch.uint8)
    quantise.quantise(loaded, pixels, tmp_path)
    actual = openvino.load(loaded, PLAN, tmp_path)[8](pixels)
    with torch.inference_mode():
        expected = NormalisedModel(loaded)(pixels)
    assert float((actual.logits - expected.logits).norm() / expected.logits.norm()) < 0.2


def test_without_nncf_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, digits: LoadedModel, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(BackendFailed, match=r'pip install "swinserve\[openvino\]"'):
        quantise.quantise(digits, torch.zeros(1, 64, 64, 3, dtype=torch.uint8), tmp_path)
