"""A peer's locked requirements -> its virtual environment in .venvs/, made by uv when the lock has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
_UV = Path(sys.prefix).parent / ".venv-tools" / "bin" / "uv"  # where `make` puts it, beside our own environment
_PRINT_VERSIONS = (
    "import importlib.metadata as m, json, sys; print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
)


def python(name: str) -> Path:
    """The interpreter of that peer's environment, which is there once this returns."""
    lock, home = FOLDER / name / "requirements.txt", FOLDER / ".venvs" / name
    digest, stamp = hashlib.sha256(lock.read_bytes()).hexdigest(), home / ".requirements-sha256"
    interpreter = home / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(home, ignore_errors=True)
        _uv("venv", "--python", sys.executable, home)
        _uv("pip", "install", "--python", interpreter, "--require-hashes", "-r", lock)
        stamp.write_text(digest)
    return interpreter


def versions(interpreter: Path, packages: Sequence[str]) -> Mapping[str, str]:
    """What is installed there."""
    command = [interpreter, "-c", _PRINT_VERSIONS, *packages]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _uv(*arguments: str | Path) -> None:
    # The machine's own certificates know a company's as well, as in the Makefile.
    environment = {"UV_SYSTEM_CERTS": "true", **os.environ}
    done = subprocess.run([_UV, *arguments, "--quiet"], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"uv {arguments[0]}: {done.stderr.strip()}")
