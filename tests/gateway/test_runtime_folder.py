"""A run's folder is its own, what killed runs have left is found by its lock, and where there can be none is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_gateway import runtime_folder
from swin_gateway.errors import StartError
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


def test_where_nothing_can_be_written_it_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_folder, "PARENT", tmp_path / "absent")
    with pytest.raises(StartError, match="absent is needed to unpack models into: No such file or directory"):
        RuntimeFolder()


@pytest.mark.parametrize("options", ["exec", "noexec"])
def test_a_folder_from_which_nothing_can_be_run_is_refused_in_one_line(tmp_path: Path, options: str) -> None:
    """In a mount namespace of its own, where the folder is what Docker's --tmpfs makes of it."""
    script = f'mount -t tmpfs -o {options} tmpfs "$1" && exec "$2" -c "$3" "$1"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode and not os.environ.get("CI"):
        pytest.skip("this machine allows no mount namespaces")
    command = [*unshare, "sh", "-c", script, "sh", tmp_path, sys.executable, LEAVE_ONE]
    done = subprocess.run(command, capture_output=True, text=True)
    if options == "exec":
        assert done.returncode == 9, done.stderr
    else:
        assert f"{tmp_path} is mounted noexec" in done.stderr
