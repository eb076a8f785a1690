"""A real archive with the real native library, where something about the machine or the files is not as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from swin_handler import service
from swin_handler.engine import cpu
from tests.handler.conftest import unpack

SWINSERVE = Path(sys.executable).with_name("swinserve")
needs_bfloat16 = pytest.mark.skipif(not cpu.has_avx512_bfloat16(), reason="not this CPU")


def build(store: Path, **environment: str) -> Path:
    """swin_digits with what `auto` finds here; the unpacked archive."""
    command = [SWINSERVE, "build", "swin_digits", "--no-tune", "--model-store", store]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return unpack(next(store.glob("*.mar")), store / "unpacked")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def archive(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    copy = tmp_path / "archive"
    subprocess.run(["cp", "-r", built, copy], check=True)
    return copy


TIMED = [{"backend": "native", "bucket": 1, "best_seconds": 1e-3, "median_seconds": 1e-3, "relative_l2": 1e-3}]


def elsewhere(archive: Path, key: str, value: object, *, timings: list[dict[str, object]]) -> None:
    """Makes its tuning record that of another machine, on which the backends were timed, or were not."""
    file = archive / "swinserve.json"
    manifest = json.loads(file.read_text())
    manifest["engine"]["machine"][key] = value
    manifest["engine"]["timings"] = timings
    file.write_text(json.dumps(manifest))


@dataclass(frozen=True)
class Loaded:
    backend: str
    dtype: str
    note: str


def load(archive: Path) -> Loaded:
    made = service.Service.load(archive, yaml.safe_load((archive / "model-config.yaml").read_text()), gpu=None)._engine
    answer = made.run(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    assert bool(torch.isfinite(answer.logits).all())
    return Loaded(made.backend, made.dtype, made.note)


@needs_bfloat16
def test_where_it_was_built_it_serves_what_was_chosen(archive: Path) -> None:
    assert load(archive) == Loaded("native", "bfloat16", "")


@needs_bfloat16
def test_a_cpu_without_bfloat16_never_runs_code_that_was_compiled_for_it(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AVX-512 is there, so that float32 could run; but the archive's library multiplies bfloat16."""
    has = torch.cpu.get_capabilities()
    lacks = {name: value and not name.endswith("bf16") for name, value in has.items() if isinstance(value, bool)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has | lacks)
    loaded = load(archive)
    assert (loaded.backend, loaded.dtype) == ("eager", "float32")
    assert "built elsewhere (hardware" in loaded.note


@needs_bfloat16
def test_a_cpu_whose_features_are_switched_off_gets_the_default_that_runs_everywhere(archive: Path) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from pathlib import Path
from tests.handler.engine.test_real_archive import load
loaded = load(Path({str(archive)!r}))
print(loaded.backend, loaded.dtype, loaded.note)
"""
    limited = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=limited)
    assert done.returncode == 0, done.stderr
    backend, dtype, note = done.stdout.splitlines()[-1].split(" ", 2)
    assert (backend, dtype) == ("eager", "float32")
    assert "built elsewhere (hardware" in note


@needs_bfloat16
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:1000]),
        lambda file: file.write_bytes(b"\0" + file.read_bytes()[1:]),
        lambda file: file.unlink(),
    ],
    ids=["truncated", "changed", "missing"],
)
def test_a_damaged_library_is_not_loaded(archive: Path, damage: Callable[[Path], object]) -> None:
    damage(archive / "engine/native/swin_bfloat16.so")
    loaded = load(archive)
    assert (loaded.backend, loaded.dtype) == ("eager", "bfloat16")
    assert "native/swin_bfloat16.so" in loaded.note


def test_a_damaged_probe_proves_nothing(archive: Path) -> None:
    probe = archive / "engine/probe.safetensors"
    probe.write_bytes(probe.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(Exception, match=r"probe\.safetensors was changed or damaged"):
        load(archive)


@needs_bfloat16
@pytest.mark.parametrize(("key", "value"), [("torch", "9.9"), ("threads", 97), ("hardware", "another CPU")])
def test_under_another_key_the_safe_default_serves(archive: Path, key: str, value: object) -> None:
    elsewhere(archive, key, value, timings=TIMED)
    loaded = load(archive)
    assert (loaded.backend, loaded.dtype) == ("native", "bfloat16"), "its library depends on neither"
    assert f"tuned elsewhere ({key}" in loaded.note


@needs_bfloat16
@pytest.mark.parametrize(("key", "value"), [("torch", "9.9"), ("threads", 97), ("hardware", "another CPU")])
def test_where_nothing_was_timed_the_safe_default_is_no_fallback(archive: Path, key: str, value: object) -> None:
    """As in an image, which is seldom built on the machine that serves."""
    elsewhere(archive, key, value, timings=[])
    assert load(archive) == Loaded("native", "bfloat16", "")


@needs_bfloat16
def test_a_named_backend_with_files_is_held_to_its_key_too(archive: Path) -> None:
    elsewhere(archive, "torch", "9.9", timings=TIMED)
    settings = yaml.safe_load((archive / "model-config.yaml").read_text())
    settings["handler"]["backend"] = "native"
    (archive / "model-config.yaml").write_text(yaml.safe_dump(settings))
    assert "tuned elsewhere (torch 9.9" in load(archive).note


def test_without_a_compiler_an_archive_is_built_that_serves(tmp_path: Path) -> None:
    unpacked = build(tmp_path, PATH="", CXX="", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert load(unpacked).backend == "eager"
    if cpu.has_avx512():
        refused = json.loads((unpacked / "swinserve.json").read_text())["engine"]["refused"]
        assert "C++ compiler" in refused["native"], refused
