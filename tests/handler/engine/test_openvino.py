"""OpenVINO: one graph on disk, answers as the model's, and no word to Intel."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_handler.engine import openvino
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel
from tests.handler import small_models
from tests.handler.engine.answers import SIZE, assert_answers_as, noise, small
from tests.handler.test_abilities import NoHalves

SWIN = "swin_tiny_patch4_window7_224"
PLAN = Plan("openvino", "float32", (1, 3), torch.device("cpu"), threads=2)
BOUND = {"float32": 1e-5, "bfloat16": 2e-2}


def assert_served(model: LoadedModel, folder: Path) -> None:
    openvino.prepare(model, PLAN, folder)
    for dtype, bound in BOUND.items():
        forwards = openvino.load(model, replace(PLAN, dtype=dtype), folder)
        assert forwards.keys() == {1, 3}
        for bucket, forward in forwards.items():
            assert_answers_as(model, forward(noise(bucket)), noise(bucket), bound)


@pytest.mark.parametrize("name", [SWIN, "swinv2_tiny_window8_256", "resnet18", "vit_tiny_patch16_224"])
def test_every_batch_bucket_answers_as_the_model(tmp_path: Path, name: str) -> None:
    assert_served(small(name), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shunted_tiny", "pvt_v2_b0", "convnext_atto", "mobilenetv3_small_050"])
def test_other_families_answer_as_the_model(tmp_path: Path, name: str) -> None:
    assert_served(small(name), tmp_path)


def test_a_model_without_a_head_gives_embeddings(tmp_path: Path) -> None:
    assert_served(small(SWIN, classes=0), tmp_path)


def test_a_model_whose_head_cannot_be_split_off_gives_logits(tmp_path: Path) -> None:
    assert_served(small_models.loaded(NoHalves().eval(), SIZE), tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    folder = tmp_path_factory.mktemp("prepared")
    openvino.prepare(small(SWIN), PLAN, folder)
    return folder


def test_answers_outlive_the_next_pass(prepared: Path) -> None:
    forward = openvino.load(small(SWIN), PLAN, prepared)[3]
    outputs = forward(noise(3))
    kept = [part.clone() for part in outputs]
    forward(torch.zeros_like(noise(3)))
    assert all(map(torch.equal, outputs, kept))


def test_weights_stay_in_float32_on_the_disk(prepared: Path) -> None:
    weights = sum(parameter.numel() * 4 for parameter in small(SWIN).module.parameters())
    assert (prepared / "model.bin").stat().st_size > weights


@pytest.mark.parametrize("file", ["model.xml", "model.bin"])
@pytest.mark.parametrize("damage", ["cut short", "missing"])
def test_a_damaged_graph_is_not_loaded(prepared: Path, tmp_path: Path, file: str, damage: str) -> None:
    for path in prepared.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if damage == "missing":
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes((prepared / file).read_bytes()[:1000])
    with pytest.raises(BackendFailed, match=r"model\.xml cannot be loaded: .") as refused:
        openvino.load(small(SWIN), PLAN, tmp_path)
    assert "\n" not in str(refused.value)


def test_where_it_is_not_installed_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert openvino.refusal(small(SWIN), PLAN) == 'it is not installed: pip install "swinserve[openvino]"'
    with pytest.raises(BackendFailed, match="not installed"):
        openvino.prepare(small(SWIN), PLAN, tmp_path)


def test_it_refuses_the_gpu_and_nothing_else() -> None:
    assert openvino.refusal(small(SWIN), replace(PLAN, device=torch.device("cuda"))) == "it serves on the CPU only"
    for dtype in ("float32", "bfloat16", "int8"):
        assert openvino.refusal(small(SWIN), replace(PLAN, dtype=dtype)) is None


def test_int8_needs_a_graph_that_was_calibrated(tmp_path: Path) -> None:
    with pytest.raises(BackendFailed, match="--calibration"):
        openvino.prepare(small(SWIN), replace(PLAN, dtype="int8"), tmp_path)


def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path: Path) -> None:
    class Undecided(NoHalves):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x)
            return logits if logits.sum() > 0 else -logits

    with pytest.raises(BackendFailed, match=r"cannot convert this model: .") as refused:
        openvino.prepare(small_models.loaded(Undecided().eval(), SIZE), PLAN, tmp_path)
    assert "\n" not in str(refused.value)


def test_neither_it_nor_nncf_reports_its_use(tmp_path: Path) -> None:
    """Left alone, both do so when they are imported, and keep an identity in the home folder."""
    script = (
        "from swin_handler.engine import openvino; openvino.runtime();"
        "from openvino.tools import ovc; import nncf; print(ovc.telemetry_utils.tm.__name__)"
    )
    # On a CI both are silent of their own; and should they send after all, then to a port where nobody listens.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITHUB", "NNCF"))}
    environment |= {"HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.stdout.strip() == "openvino.tools.ovc.telemetry_stub", ended.stderr
    assert not list(tmp_path.iterdir())
