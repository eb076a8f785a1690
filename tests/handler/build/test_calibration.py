from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from swin_handler.build import calibration
from swin_handler.build.errors import BuildRefused
from swin_handler.config import HandlerConfig
from swin_handler.decode import Decoder
from swin_handler.model import LoadedModel
from tests.handler import pictures, small_models

CONFIG = HandlerConfig()

LABELS = ("great white shark, white shark", "crane", "Owl", "crane", "dog", "cat")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    name = "resnet18"
    module = small_models.classifier(name, {}, num_classes=len(LABELS))
    loaded = small_models.loaded(module, (64, 96))
    return LoadedModel(module, loaded.data_config, LABELS, loaded.abilities)


def draw(path: Path, colour: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (120, 90), (colour % 256, 40, 90)).save(path)


def many(folder: Path, count: int) -> None:
    for index in range(count):
        draw(folder / f"{index:04}.png", index)


def read(folder: Path, model: LoadedModel, config: HandlerConfig = CONFIG) -> tuple[calibration.Images, str]:
    """What was read, and what was said."""
    console = Console(file=io.StringIO(), width=200)
    return calibration.read(folder, model, config, console), console.file.getvalue()


@pytest.mark.parametrize("scaled", [True, False])
def test_pixels_are_those_that_are_served(tmp_path: Path, model: LoadedModel, scaled: bool) -> None:
    many(tmp_path, calibration.LEAST)
    (tmp_path / "large.jpg").write_bytes(pictures.encoded(pictures.noise(700, 500), "JPEG"))
    images, _ = read(tmp_path, model, HandlerConfig(scaled_decode=scaled))
    decode = Decoder(model.data_config, max_pixels=10**6, scaled=scaled)
    expected = torch.stack([decode(path.read_bytes()).pixels for path in sorted(tmp_path.iterdir())])
    assert torch.equal(images.pixels, expected)
    assert (images.truth == calibration.UNKNOWN).all()


def test_a_folder_named_like_a_label_tells_the_class(tmp_path: Path, model: LoadedModel) -> None:
    many(tmp_path, calibration.LEAST)
    for name in ("great white shark", "Great_White_Shark", "owl", "crane", "n01443537", "deep/dog"):
        draw(tmp_path / "zz" / name / "1.png", 1)
    images, _ = read(tmp_path, model)
    unknown = calibration.UNKNOWN
    # Sorted by path: upper case first; there are two classes "crane", and no one says which.
    assert images.truth[calibration.LEAST :].tolist() == [0, unknown, 4, 0, unknown, 2]


def test_what_is_no_image_is_skipped_and_named(tmp_path: Path, model: LoadedModel) -> None:
    many(tmp_path, calibration.LEAST)
    for name in ("a", "b", "c", "d", "e"):
        (tmp_path / f"{name}.txt").write_text("notes")
    (tmp_path / ".DS_Store").write_text("hidden")
    whole = (tmp_path / "0001.png").read_bytes()
    (tmp_path / "0001.png").write_bytes(whole[: len(whole) // 2])
    draw(tmp_path / "zz.png", 0)
    images, said = read(tmp_path, model)
    assert len(images.pixels) == calibration.LEAST
    assert f"6 of {calibration.LEAST + 6} files skipped: 0001.png: the PNG image is truncated" in said
    assert "a.txt: this is not an image" in said
    assert "and 3 more" in said
    assert "DS_Store" not in said


@pytest.mark.parametrize("count", [0, calibration.LEAST - 1])
def test_too_few_images_are_refused(tmp_path: Path, model: LoadedModel, count: int) -> None:
    many(tmp_path, count)
    with pytest.raises(BuildRefused, match=rf"has {count} images that can be read; int8 needs at least 64"):
        read(tmp_path, model)


def test_a_model_without_classes_is_refused(tmp_path: Path, model: LoadedModel) -> None:
    headless = LoadedModel(model.module, model.data_config, (), model.abilities)
    with pytest.raises(BuildRefused, match="without a head"):
        read(tmp_path, headless)


def test_of_too_many_images_evenly_spread_ones_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: LoadedModel
) -> None:
    monkeypatch.setattr(calibration, "MOST", 70)
    many(tmp_path, 140)
    images, _ = read(tmp_path, model)
    assert images.pixels[:, 0, 0, 0].tolist() == list(range(0, 140, 2))


def test_halves_share_nothing_and_both_have_all_classes() -> None:
    pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    first, second = calibration.Images(pixels, torch.tensor([0, 0, 1, 1, 2, 2])).halves()
    assert (first.pixels.flatten().tolist(), second.pixels.flatten().tolist()) == ([0, 2, 4], [1, 3, 5])
    assert first.truth.tolist() == second.truth.tolist() == [0, 1, 2]
