from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from swin_handler.build.archive import Options, write
from swin_handler.build.classifier import Classifier
from swin_handler.config import Manifest
from tests.handler.fake_hub import FakeHub
from tests.handler.torchserve_context import GRPC, TorchServeContext

TINY_SWIN = {
    "img_size": 64,
    "embed_dim": 24,
    "depths": [1, 1],
    "num_heads": [2, 4],
    "window_size": 4,
}
LABELS = ["cat", "crane", "dog", "crane", "owl"]


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def tiny_swin() -> Classifier:
    """A Swin of 0.04 M parameters for 64×64 pixels and five classes, with random weights."""
    torch.manual_seed(1)
    module = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **TINY_SWIN).eval()
    torch.nn.init.normal_(module.head.fc.weight)  # far apart scores, so that a wrong answer shows
    return Classifier(
        module=module,
        architecture="swin_tiny_patch4_window7_224",
        model_args=TINY_SWIN,
        pretrained_cfg={**module.pretrained_cfg, "input_size": (3, 64, 64), "num_classes": 5},
        label_names=None,
        source="random",
    )


def options(**given: Any) -> Options:
    return Options(
        **{
            "name": "tiny",
            "version": "1.0",
            "batch_size": 4,
            "workers": 1,
            "backend": "eager",
            "dtype": "float32",
            "device": "auto",
            "tune": False,
            **given,
        }
    )


@pytest.fixture(scope="session")
def tiny_archive(tiny_swin: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive, _manifest = write(tiny_swin, LABELS, options(), tmp_path_factory.mktemp("store"))
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as mar:
        mar.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def unpacked(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: tests that change it unpack their own."""
    return unpack(tiny_archive, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="session")
def manifest(unpacked: Path) -> Manifest:
    return Manifest.read(unpacked)


@pytest.fixture(scope="session")
def settings(unpacked: Path) -> dict[str, Any]:
    parsed = yaml.safe_load((unpacked / "model-config.yaml").read_text())
    assert isinstance(parsed, dict)
    return parsed


@pytest.fixture
def context(unpacked: Path, settings: dict[str, Any]) -> TorchServeContext:
    return TorchServeContext(unpacked, settings, GRPC)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """HF_HOME of a test: where the hub's client keeps its cache."""
    return tmp_path / "hf"
