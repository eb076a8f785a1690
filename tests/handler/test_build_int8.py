"""`swinserve build --dtype int8 --calibration DIR`, as the command line calls it, on swin_digits and test digits."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from swin_handler import engine, model
from swin_handler.build import calibration, command
from swin_handler.build.tune import tune
from swin_handler.config import HandlerConfig, Manifest
from swin_handler.decode import Decoder
from tests.handler.conftest import unpack
from tests.handler.engine.test_native import HAS

pytestmark = pytest.mark.skipif(not HAS["int8"], reason="not this CPU")
STORE = Path(__file__).resolve().parents[2] / "model_store"
COUNT = 256
"""Images; half of them judge."""


@pytest.fixture(scope="module")
def training() -> Iterator[Any]:
    """The training script, for its split and its drawings."""
    sys.path.insert(0, str(STORE))
    import train_swin_digits

    yield train_swin_digits
    sys.path.remove(str(STORE))


@pytest.fixture(scope="module")
def pictures(training: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits of the test quarter, each in a folder named like its label."""
    folder, part = tmp_path_factory.mktemp("pictures"), training.split_digits()["test"]
    variant = training.VARIANTS["coloured"]
    look = training.random_look(COUNT, variant.paint, variant.looseness, torch.Generator().manual_seed(0))
    drawn = training.render(part.digits[:COUNT], look, 64, 64)
    for index, (picture, label) in enumerate(zip(drawn, part.labels, strict=False)):
        named = folder / training.LABELS[label]
        named.mkdir(exist_ok=True)
        training.to_pil(picture).save(named / f"{index:03}.png")
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images on which classes are close together, so that rounding decides between some of them."""
    folder, generator = tmp_path_factory.mktemp("noise"), torch.Generator().manual_seed(0)
    for index in range(COUNT):
        pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(folder / f"{index:03}.png")
    return folder


def run(which: Any, *arguments: str | Path) -> tuple[int, str]:
    found = CliRunner(env={"COLUMNS": "200"}).invoke(which, list(map(str, arguments)))
    return found.exit_code, found.output


def build(store: Path, images: Path, *more: str | Path) -> tuple[int, str]:
    int8 = ["--dtype", "int8", "--calibration", images, "--no-tune", "--batch-size", "4"]
    return run(command.build, "swin_digits", *int8, "--model-store", store, *more)


def row(report: str, name: str) -> str:
    [cells] = re.findall(rf"^ *{name} +(.+?) *$", report, re.MULTILINE)
    return str(cells)


def test_int8_serves_after_it_was_judged_on_images(pictures: Path, tmp_path: Path) -> None:
    code, output = build(tmp_path, pictures)
    assert code == 0, output
    same, judged = map(int, re.findall(r"\d+", row(output, "Same class"))[:2])
    assert judged == COUNT // 2
    assert same / judged >= 0.99
    assert 0 < float(row(output, "Largest score change")) < 0.5
    assert row(output, "Right in float32").startswith(tuple(map(str, range(120, 129))))
    assert "native in int8" in output
    unpacked = unpack(tmp_path / "swin_digits-1.0.mar", tmp_path / "unpacked")
    manifest = Manifest.read(unpacked)
    assert (manifest.dtype, manifest.engine.dtype) == ("int8", "int8")
    assert set(manifest.engine.choice.values()) == {"native"}
    assert not manifest.engine.refused


def test_what_is_loaded_from_the_archive_answers_as_the_report_says(pictures: Path, tmp_path: Path) -> None:
    code, output = build(tmp_path, pictures)
    assert code == 0, output
    unpacked = unpack(tmp_path / "swin_digits-1.0.mar", tmp_path / "unpacked")
    manifest = Manifest.read(unpacked)
    loaded = model.load(unpacked, manifest)
    made = engine.load(
        loaded, unpacked / engine.FOLDER, manifest.engine,
        config=HandlerConfig(dtype="int8", batch_buckets=manifest.batch_buckets),
        device=torch.device("cpu"), threads=manifest.engine.machine.threads,
    )  # fmt: skip
    assert (made.backend, made.dtype, made.note) == ("native", "int8", "")
    decode = Decoder(loaded.data_config, max_pixels=10**6)
    held_out = sorted(pictures.rglob("*.png"))[1::2]
    pixels = torch.stack([decode(path.read_bytes()).pixels for path in held_out])
    with torch.inference_mode():
        expected = engine.NormalisedModel(loaded)(pixels).logits
    same = int((made.run(pixels).logits.argmax(dim=1) == expected.argmax(dim=1)).sum())
    assert row(output, "Same class").startswith(f"{same} of {len(held_out)} ")


def test_int8_that_disagrees_is_reported_and_refused(noise: Path, pictures: Path, tmp_path: Path) -> None:
    for before in (None, b"an archive that serves"):
        if before is not None:
            (tmp_path / "swin_digits-1.0.mar").write_bytes(before)
        code, output = build(tmp_path, noise, "--min-agreement", "1", "--random-weights")
        assert code == 2, output
        same, judged = map(int, re.findall(r"\d+", row(output, "Same class"))[:2])
        assert same < judged == COUNT // 2
        assert row(output, "Largest score change")
        said = " ".join(output.split())
        assert f"int8 answers as float32 does on {same} of {judged} " in said
        assert "--min-agreement asks for 100.0%" in said
        assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_too_few_images_to_judge_by_are_refused(pictures: Path, tmp_path: Path) -> None:
    code, output = build(tmp_path, pictures / "zero")
    assert (code, f"int8 needs at least {calibration.LEAST}" in " ".join(output.split())) == (2, True)
    assert not list(tmp_path.iterdir())


def test_tuning_judges_int8_anew_and_leaves_the_archive_when_it_is_refused(
    pictures: Path, noise: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, output = build(tmp_path, noise, "--backend", "native", "--random-weights", "--min-agreement", "0")
    assert code == 0, output
    path = tmp_path / "swin_digits-1.0.mar"
    before = path.read_bytes()
    capfd.readouterr()
    code, output = run(tune, path, "--calibration", noise, "--min-agreement", "1")
    shown = capfd.readouterr().out  # by the process that tunes
    assert (code, "no backend serves this model" in output) == (2, True)
    assert row(shown, "Same class")
    assert shown.index("Same class") < shown.rindex("--min-agreement asks for 100.0%")
    assert path.read_bytes() == before
    code, output = run(tune, path, "--calibration", noise, "--min-agreement", "0")
    assert code == 0, output
    assert row(capfd.readouterr().out, "Same class")
    assert f"{path} serves with native" in output
    assert path.read_bytes() != before
