"""Files -> their contents, loaded at the start and again whenever they have changed.

What cannot be loaded at the start is refused; later it leaves everything as it was and is told in the log. Contents are
compared, not times, and read through links: Kubernetes swaps a link when a secret changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from swin_gateway.errors import StartError

log = structlog.get_logger("files")

Contents = tuple[bytes, ...]


class WatchedFiles:
    def __init__(self, what: str, paths: Sequence[Path], load: Callable[[Contents], None]) -> None:
        """load: takes the contents over, or raises ValueError or OSError and changes nothing

        Raises:
            StartError: they cannot be read or loaded.
        """
        self._what = what
        self._paths = paths
        self._load = load
        self._seen: Contents | str = ""
        try:
            self._seen = self.read()
            load(self._seen)
        except (ValueError, OSError) as error:
            raise StartError(f"{what}: {error}") from None

    def read(self) -> Contents:
        return tuple(path.read_bytes() for path in self._paths)

    def look(self) -> None:
        """Loads them if they are others than last time, be it that they were good or not."""
        try:
            contents: Contents | str = self.read()
        except OSError as error:
            contents = str(error)
        if contents == self._seen:
            return
        self._seen = contents
        try:
            if isinstance(contents, str):
                raise ValueError(contents)
            self._load(contents)
        except (ValueError, OSError) as error:
            log.error("changed files cannot be used, what was loaded before stays", what=self._what, error=str(error))
        else:
            log.info("changed files are loaded", what=self._what)
