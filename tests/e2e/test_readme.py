"""What the README shows is run as it stands, with only the addresses of the running service put in."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import Running, curl

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
AGAINST_A_SERVICE = [line for line in COMMANDS if line.startswith(("swinserve classify", "swinserve served", "curl"))]


def addressed(text: str, shared: Running) -> str:
    text = re.sub(r"http://127\.0\.0\.1:\d+", shared.http, text)
    return re.sub(r"grpc://127\.0\.0\.1:\d+", shared.grpc, text)


def run(command: list[str], shared: Running) -> str:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "SWINSERVE_SERVER": shared.grpc}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


def expanded(command: str) -> list[str]:
    """The words, as a shell would expand them."""
    words = shlex.split(command)
    return [path for word in words for path in (map(str, sorted(ROOT.glob(word))) if "*" in word else [word])]


@pytest.mark.parametrize("command", AGAINST_A_SERVICE)
def test_a_command_of_the_readme_runs(shared: Running, command: str, tmp_path: Path) -> None:
    words = [addressed(word, shared) for word in expanded(command)]
    words = [str(tmp_path / word) if word == "map.png" else word for word in words]  # what it writes
    in_place = [word.replace("@", f"@{ROOT}/") for word in words[1:]]
    output = curl(*in_place) if words[0] == "curl" else run(words, shared)
    answer = re.sub(r"\S*model_store\S*", "", output)  # the files' own names say what they show
    assert ("seven" in answer) if "seven" in command or "*" in command else ("swin_digits" in answer)


def test_the_python_of_the_readme_runs(shared: Running) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "seven" in run([sys.executable, "-W", "error", "-c", addressed(block, shared)], shared)


def test_every_make_target_and_link_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", README) + [c.split()[1] for c in COMMANDS if c.startswith("make ")]:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_builds_of_the_readme_are_accepted_by_the_command_line() -> None:
    builds = [shlex.split(line, comments=True) for line in COMMANDS if line.startswith("swinserve build")]
    assert builds
    listed = subprocess.run(
        [Path(sys.executable).with_name("swinserve"), "build", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for build in builds:
        assert all(word in listed for word in build if word.startswith("--")), build
