"""A private folder in /tmp for one run of TorchServe, gone at its end, or at the next start if the end was a kill -9.

Each run holds a lock on a file in its folder for as long as its process lives, so that whoever starts next can tell
a folder that is left over from one in use, in whatever container that is.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

# Short, because the workers' unix sockets live in it and a socket's path may have 107 characters.
PARENT = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of mode 0700
PREFIX = "swinserve-"
LOCK = "lock"


class RuntimeFolder:
    def __init__(self) -> None:
        remove_leftovers()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PARENT))
        self._lock = (self.path / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # ends with this process; children do not inherit the file

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_leftovers() -> None:
    """Removes what runs that were killed have left, as far as it is ours."""
    for lock in PARENT.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), lock.open("r+") as file:  # of another user, in use, or gone meanwhile
            _take(file)
            shutil.rmtree(lock.parent)


def _take(file: IO[str]) -> None:
    """Raises BlockingIOError when a living process holds it."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
