"""C++ sources -> a shared library, with the compiler that is on the machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from swin_handler.engine.errors import BackendFailed

_CANDIDATES = ("g++", "clang++", "c++")
_TIMEOUT_SECONDS = 300


def find() -> list[str] | None:
    """The command of a C++ compiler: that of $CXX if it is set, else the first one found; None: there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    if named:
        return named if shutil.which(named[0]) else None
    return next(([path] for name in _CANDIDATES if (path := shutil.which(name))), None)


def shared_library(source: Path, to: Path, flags: Sequence[str]) -> None:
    """Compile `source` into `to`, which appears complete or not at all. Raises BackendFailed."""
    compiler = find()
    if compiler is None:
        raise BackendFailed("no C++ compiler was found: install g++ or clang++, or set CXX")
    partial = to.with_name(f"{to.name}.{os.getpid()}")
    command = [*compiler, "-shared", "-fPIC", *flags, str(source), "-o", str(partial)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)  # noqa: S603
        partial.replace(to)
    except subprocess.CalledProcessError as error:
        raise BackendFailed(f"{compiler[0]} cannot compile {source.name}: {_first_error(error.stderr)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendFailed(f"{compiler[0]} cannot compile {source.name}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _first_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "it said nothing")
