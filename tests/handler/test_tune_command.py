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
from swin_handler.config import Manifest
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
            assert process.wait(60) == 2
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


def test_the_table_marks_what_serves() -> None:
    from dataclasses import replace

    from rich.console import Console

    from swin_handler.tuning import Timing

    rows = (
        Timing("native", 1, 0.010, 0.011, 0.004),
        Timing("eager", 1, 0.020, 0.022, 0.008),
        Timing("native", 8, 0.100, 0.110, 0.004),
        Timing("eager", 8, 0.080, 0.088, 0.008),
    )
    console = Console(width=200, record=True)
    timings.show(replace(RECORD, timings=rows, choice={1: "native", 8: "eager"}), console)
    text = console.export_text()
    assert "100.0 (90.9)*" in text
    assert "80.0 (72.7) " in text
    assert "50.0 (45.5) " in text
    assert "100.0 (90.9)*" in text
    assert "Not timed: openvino: it is not installed" in text
