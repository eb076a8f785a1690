"""What a page shows, to be run as it stands, with only the addresses of a running service put in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import Running

ROOT = Path(__file__).resolve().parents[2]


def blocks(text: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found


def commands(text: str) -> list[str]:
    """The lines that begin with `$ ` of console blocks."""
    lines = [line for block in blocks(text, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def sections(text: str) -> list[str]:
    """From each heading of the second level to the next."""
    return re.split(r"^(?=## )", text, flags=re.MULTILINE)


def clone(folder: Path, store: Path) -> Path:
    """`folder` as a clone of the repository whose model store holds the archives of `store`."""
    models = folder / "model_store"
    models.mkdir()
    for each in (ROOT / "model_store" / "swin_digits", *store.glob("*.mar")):
        (models / each.name).symlink_to(each)
    return folder


def run(command: str | list[str], folder: Path, service: Running | None = None) -> str:
    """What a shell's line, or a program with its arguments, prints in `folder`."""
    words = command if isinstance(command, list) else ["bash", "-ec", command]
    if "curl" in words[-1] and shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("curl is not installed")
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    if service is not None:
        environment["SWINSERVE_SERVER"] = service.grpc
        words = [addressed(word, service) for word in words]
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def addressed(text: str, service: Running) -> str:
    text = re.sub(r"http://127\.0\.0\.1:\d+", service.http, text)
    return re.sub(r"grpc://127\.0\.0\.1:\d+", service.grpc, text)
