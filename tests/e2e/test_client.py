"""The client against the real service: docs/client.md as it stands, and bulk work that is killed and goes on."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.documented import ROOT, addressed
from tests.e2e.running import SWINSERVE, Running, until

PAGE = (ROOT / "docs" / "client.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# The block about TLS is run in test_access.
AGAINST_A_SERVICE = [block for block in PYTHON if "://127.0.0.1" in block and "grpcs://" not in block]
IN_MEMORY = [block for block in PYTHON if "InMemoryTransport" in block]
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
MANY = 600


@pytest.fixture
def photos(tmp_path: Path, samples: dict[Path, str]) -> Path:
    """The folder that the page speaks of."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, source in {"seven": "seven", "two": "four"}.items():
        (file,) = [path for path, shows in samples.items() if shows == source and path.suffix == ".jpg"]
        shutil.copy(file, folder / f"{name}.jpg")
    return folder


def run(block: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", block]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.replace("photos/seven", "")


@pytest.mark.parametrize("block", AGAINST_A_SERVICE, ids=range(len(AGAINST_A_SERVICE)))
def test_the_python_of_the_page_runs(shared: Running, photos: Path, block: str) -> None:
    assert "seven" in run(addressed(block, shared), photos.parent)


def test_the_pages_test_without_a_service_runs(tmp_path: Path) -> None:
    assert len(AGAINST_A_SERVICE) + len(IN_MEMORY) + 1 == len(PYTHON)
    for block in IN_MEMORY:
        run(block, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(shared: Running, photos: Path, command: str) -> None:
    environment = os.environ | {"PATH": f"{SWINSERVE.parent}:{os.environ['PATH']}", "SWINSERVE_SERVER": shared.grpc}
    done = subprocess.run(["bash", "-c", command], cwd=photos.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = shlex.split(command)[-1]
    output = photos.parent / written if written.startswith("answers") else None
    answer = (output.read_text() if output else done.stdout).replace(str(photos), "").replace("photos/seven", "")
    assert "seven" in answer


def test_bulk_work_that_is_killed_goes_on_and_answers_every_file_once(
    shared: Running, digit: Path, tmp_path: Path
) -> None:
    folder, output = tmp_path / "many", tmp_path / "out.jsonl"
    folder.mkdir()
    for i in range(MANY):
        (folder / f"{i:03}.png").symlink_to(digit)
    slow = folder / f"{MANY // 2:03}.png"
    slow.unlink()
    os.mkfifo(slow)  # nobody writes into it, so the first run can come no further
    command = [SWINSERVE, "classify", folder, "--output", output, "--server", shared.grpc]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        until(lambda: output.exists() and output.read_bytes().count(b"\n") > MANY // 4, 60)
        first.send_signal(signal.SIGKILL)
    slow.unlink()
    slow.symlink_to(digit)
    earlier = output.read_bytes().count(b"\n")
    assert MANY // 4 < earlier < MANY // 2
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"{MANY - earlier} files in " in again.stderr
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert sorted(each["file"] for each in found) == [str(folder / f"{i:03}.png") for i in range(MANY)]
    assert len({each["predictions"][0]["label"] for each in found}) == 1
