"""What the handler tells `swinserve doctor`."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from swin_handler.checks import Check, checks
from tests.handler.altered_archive import with_manifest


def told(model_store: Path | None = None, config: Path | None = None) -> dict[str, Check]:
    return {check[0]: check for check in checks(model_store=model_store, config=config)}


def test_torch_and_cpu_are_named(tmp_path: Path) -> None:
    found = told(tmp_path)
    assert torch.__version__ in found["torch"][2]
    assert "to use; " in found["CPU"][2]
    assert found["GPU"][1] in ("ok", "warn")


def test_a_compiler_that_is_missing_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "nonesuch-cc")
    _, verdict, found, advice = told(tmp_path)["C++ compiler"]
    assert (verdict, found) == ("warn", "no C++ compiler was found (CXX is nonesuch-cc)")
    assert "g++" in advice


def test_a_compiler_that_does_not_compile_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "false")
    assert told(tmp_path)["C++ compiler"][1] == "warn"


def test_an_archive_that_was_built_here_answers_and_is_told_to_be_tuned(tiny_archive: Path) -> None:
    _, verdict, found, advice = told(tiny_archive.parent)["engine of tiny@1.0"]
    assert verdict == "warn"
    assert found == "eager in float32 answers rightly; no backend was timed"
    assert advice.startswith("swinserve tune tiny@1.0")


def test_an_archive_whose_weights_were_damaged_fails(tiny_archive: Path, tmp_path: Path) -> None:
    with_manifest(tiny_archive, tmp_path / "tiny-1.0.mar", weights_sha256="0" * 64)
    _, verdict, found, advice = told(tmp_path)["engine of tiny@1.0"]
    assert verdict == "fail"
    assert "SHA-256" in found
    assert advice == "build the archive again as it was built"


def test_the_model_store_may_be_named_by_the_settings_file(tiny_archive: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_archive, tmp_path)
    config = tmp_path / "serve.toml"
    config.write_text(f'model_store = "{tmp_path}"\n')
    assert "engine of tiny@1.0" in told(config=config)


def test_an_archive_for_a_gpu_is_a_warning_where_there_is_none(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with zipfile.ZipFile(tiny_archive) as archive:
        record = json.loads(archive.read("swinserve.json"))["engine"]
    record["machine"]["device"] = "cuda"
    with_manifest(tiny_archive, tmp_path / "tiny-1.0.mar", engine=record)
    _, verdict, found, advice = told(tmp_path)["engine of tiny@1.0"]
    assert (verdict, found) == ("warn", "it was built for a GPU, and none can be used here")
    assert "--device cpu" in advice
