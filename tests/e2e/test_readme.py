"""What the README shows is run as it stands, with only the addresses of the running service put in."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.documented import ROOT, blocks, clone, commands, run
from tests.e2e.running import Running

README = (ROOT / "README.md").read_text()
COMMANDS = commands(README)
AGAINST_A_SERVICE = [line for line in COMMANDS if line.startswith(("swinserve classify", "swinserve served", "curl"))]


@pytest.mark.parametrize("command", AGAINST_A_SERVICE)
def test_a_command_of_the_readme_runs(shared: Running, command: str, store: Path, tmp_path: Path) -> None:
    output = run(command, clone(tmp_path, store), shared)
    answer = re.sub(r"\S*model_store\S*", "", output)  # the files' own names say what they show
    assert ("seven" in answer) if "seven" in command or "*" in command else ("swin_digits" in answer)


def test_the_python_of_the_readme_runs(shared: Running) -> None:
    (block,) = blocks(README, "python")
    assert "seven" in run([sys.executable, "-W", "error", "-c", block], ROOT, shared)


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", README) + [c.split()[1] for c in COMMANDS if c.startswith("make ")]:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_builds_of_the_readme_are_accepted_by_the_command_line() -> None:
    builds = [shlex.split(line, comments=True) for line in COMMANDS if line.startswith("swinserve build")]
    assert builds
    listed = subprocess.run(
        [Path(sys.executable).with_name("swinserve"), "build", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for build in builds:
        assert all(word in listed for word in build if word.startswith("--")), build
