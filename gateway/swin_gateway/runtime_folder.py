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

from swin_gateway.errors import StartError

# Short, because the workers' unix sockets live in it and a socket's path may have 107 characters.
PARENT = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of mode 0700
PREFIX = "swinserve-"
LOCK = ".swinserve-lock"


class RuntimeFolder:
    def __init__(self) -> None:
        """Raises StartError where nothing can be written there, or nothing that is written can be run."""
        remove_leftovers()
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PARENT))
        except OSError as error:
            raise StartError(f"{PARENT} is needed to unpack models into: {error.strerror}") from error
        if _mounted_noexec(self.path):
            self.path.rmdir()
            raise StartError(
                f"{PARENT} is mounted noexec, and models bring compiled code that is run from there; "
                "mount it exec (docker run --tmpfs /tmp:exec)"
            )
        unlocked = self.path / f"{LOCK}.new"
        self._lock = unlocked.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # ends with this process; children do not inherit the file
        unlocked.rename(self.path / LOCK)  # found by others only now that it is held

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _mounted_noexec(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0))  # Linux's alone


def remove_leftovers() -> None:
    """Removes what killed runs of this user have left."""
    for lock in PARENT.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), lock.open("r+") as file:  # in use, of another user, or gone meanwhile
            if lock.parent.stat().st_uid == os.getuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
