"""A private folder in /tmp for one run of TorchServe, gone at its end, or at the next start if the end was a kill -9.

Each run holds a lock on a file in its folder for as long as its process lives, so that whoever starts next can tell
a folder that is left over from one in use, in whatever container that is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

# Short, because the workers' unix sockets live in it and a socket's path may have 107 characters.
PARENT = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of mode 0700
PREFIX = "swinserve-"
LOCK = ".swinserve-lock"


class RuntimeFolder:
    def __init__(self) -> None:
        remove_leftovers()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PARENT))
        unlocked = self.path / f"{LOCK}.new"
        self._lock = unlocked.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # ends with this process; children do not inherit the file
        unlocked.rename(self.path / LOCK)  # found by others only now that it is held

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_leftovers() -> None:
    """Removes what killed runs of this user have left."""
    for lock in PARENT.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), lock.open("r+") as file:  # in use, of another user, or gone meanwhile
            if lock.parent.stat().st_uid == os.getuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
