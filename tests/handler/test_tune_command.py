"""`swinserve tune`, and `build` with --tune, for real: every backend of this machine, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from swin_handler.build import archive, timings
from swin_handler.build.classifier import Classifier
from swin_handler.build.tune import tune
from swin_handler.build.tuner import NO_IMAGES
from swin_handler.config import Manifest
from tests.handler.altered_archive import with_manifest
from tests.handler.conftest import LABELS, options, unpack
from tests.handler.test_tuning import RECORD


@pytest.fixture
def store(tiny_swin: Classifier, tmp_path: Path) -> Path:
    archive.write(tiny_swin, LABELS, options(batch_size=1, backend="auto"), tmp_path)
    return tmp_path


def run(*arguments: str | Path) -> tuple[int, str]:
    found = CliRunner().invoke(tune, list(map(str, arguments)))
    return found.exit_code, found.output


@pytest.mark.timeout(600)
def test_tuning_times_every_backend_and_rewrites_the_archive(store: Path) -> None:
    [path] = store.glob("*.mar")
    command = [Path(sys.executable).with_name("swinserve"), "tune", "tiny", "--model-store", store]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    manifest = Manifest.read(unpack(path, store / "unpacked"))
    record = manifest.engine
    assert {timing.backend for timing in record.timings} | record.refused.keys() == {
        "native", "inductor", "openvino", "eager",
    }  # fmt: skip
    assert "eager" in {timing.backend for timing in record.timings}
    assert all(0 < timing.best_seconds <= timing.median_seconds for timing in record.timings)
    assert all(timing.relative_l2 <= record.tolerance for timing in record.timings)
    assert record.choice.keys() == {1}
    assert "in turns" in ended.stdout
    assert f"{path} serves with {record.choice[1]}" in ended.stdout.replace("\n", "")
    assert [file.name for file in store.iterdir()] in (["tiny-1.0.mar", "unpacked"], ["unpacked", "tiny-1.0.mar"])


def test_ctrl_c_ends_it_and_leaves_the_archive_as_it_was(store: Path) -> None:
    [path] = store.glob("*.mar")
    before = path.read_bytes()
    command = [Path(sys.executable).with_name("swinserve"), "tune", "tiny", "--model-store", store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            while "compiling" not in (line := process.stdout.readline()):
                assert line, "it ended too early"
            os.killpg(process.pid, signal.SIGINT)  # to the whole group, as a terminal does
            assert process.wait(60) == 130
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert path.read_bytes() == before
    assert [file.name for file in store.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("other", "has no archive of other: swinserve build other"), ("broken", "no complete model archive")],
)
def test_what_cannot_be_tuned_is_named(store: Path, name: str, complaint: str) -> None:
    with zipfile.ZipFile(store / "broken.mar", "w"):
        pass
    code, output = run(name if name == "other" else store / "broken.mar", "--model-store", store)
    assert (code, complaint in output) == (2, True)


@pytest.mark.parametrize(("dtype", "images"), [("float32", True), ("auto", True), ("int8", False)])
def test_images_for_int8_and_int8_itself_need_each_other(
    tiny_swin: Classifier, tmp_path: Path, dtype: str, images: bool
) -> None:
    path, _ = archive.write(tiny_swin, LABELS, options(batch_size=1), tmp_path)
    with_manifest(path, tmp_path / "asked.mar", dtype=dtype)
    before = (tmp_path / "asked.mar").read_bytes()
    code, output = run(tmp_path / "asked.mar", *(["--calibration", tmp_path] if images else []))
    complaint = f"built with --dtype {dtype}" if images else "name them with --calibration"
    assert (code, complaint in " ".join(output.split())) == (2, True)
    assert (tmp_path / "asked.mar").read_bytes() == before


def test_an_agreement_that_nothing_would_be_held_to_is_refused(tiny_swin: Classifier, tmp_path: Path) -> None:
    path, _ = archive.write(tiny_swin, LABELS, options(batch_size=1), tmp_path)
    before = path.read_bytes()
    code, output = run(path, "--min-agreement", "0.99")  # what it is by default, but asked for
    assert (code, "--min-agreement is for int8, not for " in output) == (2, True)
    assert path.read_bytes() == before


def test_the_archive_gets_the_handler_that_tuned_it(
    tiny_swin: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fresh = archive.write(tiny_swin, LABELS, options(batch_size=1), tmp_path)
    contents = unpack(path, tmp_path / "older")
    code = contents / "swin_handler"
    expected = {file.relative_to(code): file.read_bytes() for file in code.rglob("*.py")}
    (code / "service.py").write_text("raise SystemExit('of an older release')")
    (code / "engine" / "long_gone.py").write_text("")
    archive.pack(contents, tmp_path / "packed.mar")
    with_manifest(tmp_path / "packed.mar", path, created_with={"swinserve": "0.0.1", "torch": "1.0"})
    monkeypatch.setattr(archive.tuner, "run", archive.tuner.settle)  # here, untimed
    archive.retune(path, NO_IMAGES)
    renewed = unpack(path, tmp_path / "renewed")
    code = renewed / "swin_handler"
    assert {file.relative_to(code): file.read_bytes() for file in code.rglob("*") if file.is_file()} == expected
    assert Manifest.read(renewed).created_with == fresh.created_with


def test_the_table_marks_what_serves() -> None:
    from dataclasses import replace

    from rich.console import Console

    from swin_handler.tuning import Timing

    rows = (
        Timing("native", 1, 0.010, 0.011, 0.004),
        Timing("eager", 1, 0.020, 0.022, 0.008),
        Timing("native", 8, 0.125, 0.160, 0.004),
        Timing("eager", 8, 0.100, 0.128, 0.008),
    )
    console = Console(width=200, record=True)
    timings.show(replace(RECORD, timings=rows, choice={1: "native", 8: "eager"}), console)
    text = console.export_text()
    cells = {line.split()[0]: line.split()[1:5] for line in text.splitlines() if line.startswith(("native", "eager"))}
    assert cells == {
        "native": ["100.0", "(90.9)*", "64.0", "(50.0)"],
        "eager": ["50.0", "(45.5)", "80.0", "(62.5)*"],
    }
    assert "Not timed: openvino: it is not installed" in text
