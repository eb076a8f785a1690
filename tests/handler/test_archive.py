from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import swin_handler
from swin_handler import model
from swin_handler.build import archive
from swin_handler.build.classifier import Classifier
from swin_handler.build.errors import BuildRefused
from swin_handler.config import HandlerConfig, Manifest
from tests.handler.conftest import LABELS, options, unpack

RUN_TIME = ("", "engine/", "kernels/", "models/")
"""Folders of the handler that travel; build/ and native/, the sources of the compiled library, stay behind."""


def test_the_archive_holds_what_the_reference_page_says(tiny_archive: Path) -> None:
    package = Path(swin_handler.__file__).parent
    runtime = {f"swin_handler/{folder}{file.name}" for folder in RUN_TIME for file in (package / folder).glob("*.py")}
    with zipfile.ZipFile(tiny_archive) as mar:
        assert set(mar.namelist()) == runtime | {
            "MAR-INF/MANIFEST.json", "config.json", "labels.json", "model-config.yaml", "model.safetensors",
            "card.json", "swinserve.json", "swinserve_entry.py", "engine/probe.safetensors",
        }  # fmt: skip
        assert {info.compress_type for info in mar.infolist()} == {zipfile.ZIP_STORED}
    assert tiny_archive.name == "tiny-1.0.mar"


def test_building_twice_gives_the_same_bytes(tiny_swin: Classifier, tiny_archive: Path, tmp_path: Path) -> None:
    again, _manifest = archive.write(tiny_swin, LABELS, options(), tmp_path)
    assert again.read_bytes() == tiny_archive.read_bytes()


def test_the_manifest_tells_the_model(manifest: Manifest, tiny_swin: Classifier, unpacked: Path) -> None:
    assert manifest.input_size == (3, 64, 64)
    assert (manifest.num_classes, manifest.weights) == (5, "random")
    assert manifest.parameters == sum(p.numel() for p in tiny_swin.module.parameters())
    assert manifest.weights_sha256 == model.sha256(unpacked / "model.safetensors")
    assert manifest.batch_buckets == (1, 2, 4)
    assert set(manifest.created_with) == {"swinserve", "torch", "timm", "torchvision", "safetensors", "python"}
    assert json.loads((unpacked / "labels.json").read_text()) == LABELS


def test_multiply_adds_are_those_of_the_layers(tiny_swin: Classifier) -> None:
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
    made = Classifier(linear, "linear", {}, {"num_classes": 5}, None, "random")
    assert archive._multiply_adds(made, (3, 8, 8)) == 3 * 8 * 8 * 5
    fused = [part for part in tiny_swin.module.modules() if getattr(part, "fused_attn", False)]
    archive._multiply_adds(tiny_swin, (3, 64, 64))
    assert fused == [part for part in tiny_swin.module.modules() if getattr(part, "fused_attn", False)]


def test_torchserve_is_told_to_batch_without_waiting(settings: dict[str, Any]) -> None:
    assert settings["maxBatchDelay"] == 1
    assert settings["minWorkers"] == settings["maxWorkers"] == 1
    assert settings["batchSize"] == 4
    assert settings["maxRetryTimeoutInSec"] > settings["startupTimeout"]
    assert HandlerConfig.parse(settings["handler"]) == HandlerConfig(
        backend="eager", dtype="float32", batch_buckets=(1, 2, 4)
    )


@pytest.mark.parametrize(("size", "buckets"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))])
def test_buckets_are_powers_of_two_and_the_batch_size(size: int, buckets: tuple[int, ...]) -> None:
    assert options(batch_size=size).batch_buckets == buckets


@pytest.mark.parametrize(("device", "told"), [("auto", None), ("cpu", "cpu"), ("cuda", "gpu")])
def test_the_device_is_told_to_torchserve_only_when_asked(device: str, told: str | None) -> None:
    assert archive._model_config(options(device=device)).get("deviceType") == told


def test_a_failed_build_leaves_the_old_archive_and_nothing_else(
    tiny_swin: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _manifest = archive.write(tiny_swin, LABELS, options(), tmp_path)
    before = target.read_bytes()
    for failure in (KeyboardInterrupt, BuildRefused("no")):
        monkeypatch.setattr(
            archive, "prove", lambda _archive, _original, failure=failure: (_ for _ in ()).throw(failure)
        )
        with pytest.raises((KeyboardInterrupt, BuildRefused)):
            archive.write(tiny_swin, LABELS[::-1], options(), tmp_path)
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == before


def test_a_model_without_a_finite_answer_is_not_written(tiny_swin: Classifier, tmp_path: Path) -> None:
    bias = tiny_swin.module.head.fc.bias
    kept = bias.detach().clone()
    try:
        bias.data.fill_(float("nan"))
        with pytest.raises(BuildRefused, match="no finite score"):
            archive.write(tiny_swin, LABELS, options(), tmp_path)
    finally:
        bias.data.copy_(kept)
    assert list(tmp_path.iterdir()) == []


ALONE = """
import sys, json, yaml
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"swin_proto", "click", "rich", "grpc", "google", "huggingface_hub", "platformdirs"}:
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
folder, repository = sys.argv[1:]
sys.path[:] = [entry for entry in sys.path if not entry.startswith(repository + "/") or "site-packages" in entry]
sys.path.insert(0, repository)
from tests.handler.torchserve_context import REST, TorchServeContext
sys.path.pop(0)
sys.path.insert(0, folder)
import swinserve_entry, swin_handler
assert swin_handler.__file__.startswith(folder), swin_handler.__file__
context = TorchServeContext(folder, yaml.safe_load(open(folder + "/model-config.yaml")), REST)
swinserve_entry.handle(None, context)
[answer] = swinserve_entry.handle([{"body": sys.stdin.buffer.read()}], context)
print(json.loads(answer))
"""


def test_the_archive_runs_alone_without_protobuf_or_click(unpacked: Path) -> None:
    from tests.handler import pictures

    repository = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, str(unpacked), str(repository)],
        input=pictures.jpeg(),
        capture_output=True,
        timeout=120,
        cwd=unpacked,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert b"crane (1)" in ran.stdout


def test_an_entry_that_cannot_import_its_handler_says_so(tiny_archive: Path, tmp_path: Path) -> None:
    folder = unpack(tiny_archive, tmp_path)
    (folder / "swin_handler" / "service.py").write_text("raise ImportError('no module named timm')")
    ran = subprocess.run(
        [sys.executable, "-c", "import swinserve_entry"], capture_output=True, text=True, timeout=60, cwd=folder
    )
    assert "SWINSERVE_FATAL the handler cannot be imported: no module named timm" in ran.stdout
    assert "RuntimeError" in ran.stderr
