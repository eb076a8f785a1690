"""The committed default model is what its page says: its size, its figures, its samples; measured as it is served."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from swin_handler import engine, model
from swin_handler.build import archive, weights
from swin_handler.config import Manifest
from swin_handler.decode import Decoder

STORE = Path(__file__).resolve().parents[2] / "model_store"
FOLDER = STORE / "swin_digits"
METRICS = json.loads((FOLDER / "metrics.json").read_text())


@pytest.fixture(scope="module")
def training():
    """The training script, for its split and its drawings."""
    sys.path.insert(0, str(STORE))
    import train_swin_digits

    yield train_swin_digits
    sys.path.remove(str(STORE))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory):
    """bytes of images -> (its engine, Outputs), through the archive's own decoder."""
    folder = tmp_path_factory.mktemp("digits")
    options = archive.Options("swin_digits", "1.0", 8, 1, "eager", "float32", "cpu", tune=False)
    classifier = weights.load("swin_digits", checkpoint=None, random_weights=False)
    built, _ = archive.write(classifier, classifier.label_names, options, folder)
    with zipfile.ZipFile(built) as mar:
        mar.extractall(folder)
    loaded = model.load(folder, Manifest.read(folder))
    decode = Decoder(loaded.data_config, max_pixels=10**6)
    made = engine.build(loaded, device=torch.device("cpu"), dtype="float32", buckets=(8,), backend="eager")
    return lambda images: (made, made.run(torch.stack([decode(image).pixels for image in images])))


@pytest.fixture(scope="module")
def served(outputs):
    """bytes of images -> indices"""
    return lambda images: outputs(images)[1].logits.argmax(dim=1)


def test_the_weights_take_at_most_a_megabyte() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size == METRICS["bytes"] <= 1_000_000


@pytest.mark.parametrize("variant", ["dark-on-light", "light-on-dark", "coloured", "jpeg-q75"])
def test_the_served_accuracy_on_the_test_quarter_is_the_reported_one(training, served, variant: str) -> None:
    part, how = training.split_digits()["test"], training.VARIANTS[variant]
    generator = torch.Generator().manual_seed(training.SPLIT_SEED)
    right = 0
    for start in range(0, len(part.digits), training.BATCH):
        digits = part.digits[start : start + training.BATCH]
        look = training.random_look(len(digits), how.paint, how.looseness, generator)
        images = []
        for picture in training.render(digits, look, how.height, how.width):
            buffer = io.BytesIO()
            training.to_pil(picture, how.jpeg_quality).save(buffer, "PNG")
            images.append(buffer.getvalue())
        right += int((served(images) == part.labels[start : start + training.BATCH]).sum())
    accuracy = 100 * right / len(part.labels)
    assert accuracy >= 98.5
    assert accuracy == pytest.approx(METRICS["committed"]["test"]["accuracy"][variant], abs=0.25)  # one digit is 0.22


def test_the_samples_are_held_out_digits_that_it_names_right(training, served) -> None:
    samples = sorted((FOLDER / "samples").iterdir())
    assert sum(path.stat().st_size for path in samples) < 100_000
    assert {path.suffix for path in samples} == {".png", ".jpg"}
    indices = served([path.read_bytes() for path in samples])
    assert [training.LABELS[index] for index in indices] == [path.name.split("-")[0] for path in samples]


def test_the_split_is_fixed_and_disjoint(training) -> None:
    parts = training.split_digits()
    assert {name: len(part.labels) for name, part in parts.items()} == {"train": 1144, "validation": 203, "test": 450}
    assert METRICS["split"] == {"seed": 0, "train": 1144, "validation": 203, "test": 450}


@pytest.mark.parametrize("count", [90, pytest.param(450, marks=pytest.mark.slow)])
def test_the_maps_of_digits_speak_for_the_paper_not_for_the_strokes(training, outputs, count: int) -> None:
    """What docs/reference/models.md says of them; `-s` prints the figure."""
    digits = training.split_digits()["test"].digits[:count]
    plain = training.VARIANTS["dark-on-light"]
    look = training.random_look(len(digits), plain.paint, plain.looseness, torch.Generator().manual_seed(0))
    pictures = training.render(digits, look, plain.height, plain.width)  # (B, 3, H, W), dark ink
    ink = torch.nn.functional.adaptive_avg_pool2d(1 - pictures.float().mean(dim=1), (4, 4))
    correlations = []
    for picture, place in zip(pictures, ink, strict=True):
        buffer = io.BytesIO()
        training.to_pil(picture, None).save(buffer, "PNG")
        engine_, answer = outputs([buffer.getvalue()])
        best = int(answer.logits.argmax())
        (found,) = engine_.activation_maps(answer.features[0], [best])  # (4, 4)
        assert float(found.mean()) == pytest.approx(float(answer.logits[0, best]), abs=1e-4)
        correlations.append(float(torch.corrcoef(torch.stack([found.flatten(), place.flatten()]))[0, 1]))
    mean = sum(correlations) / len(correlations)
    print(f"\ncorrelation of the best class's map with the ink, mean of {len(digits)} digits: {mean:.2f}")
    assert mean < -0.5
