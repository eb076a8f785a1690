"""A run's folder is its own, and what killed runs have left is found by its lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from swin_gateway import runtime_folder
from swin_gateway.runtime_folder import RuntimeFolder

LEAVE_ONE = """
import os, sys
from pathlib import Path
from swin_gateway import runtime_folder
runtime_folder.PARENT = Path(sys.argv[1])
folder = runtime_folder.RuntimeFolder()
(folder.path / "weights").write_bytes(b"x")
os._exit(9)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_folder, "PARENT", tmp_path)


def test_the_folder_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    folder = RuntimeFolder()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()
    assert not list(tmp_path.iterdir())


def test_the_next_start_removes_what_a_killed_run_left_and_spares_a_living_one(tmp_path: Path) -> None:
    living = RuntimeFolder()
    assert subprocess.run([sys.executable, "-c", LEAVE_ONE, tmp_path], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 2
    newest = RuntimeFolder()
    assert set(tmp_path.iterdir()) == {living.path, newest.path}
    living.remove()
    newest.remove()


def test_what_is_not_ours_is_spared(tmp_path: Path) -> None:
    (tmp_path / "swinserve-notes").mkdir()
    (tmp_path / "other").mkdir()
    RuntimeFolder().remove()
    assert {path.name for path in tmp_path.iterdir()} == {"swinserve-notes", "other"}
