"""Files -> their contents, loaded at the start and again whenever they have changed.

What cannot be loaded at the start is refused; later it leaves everything as it was, is told in the log, and is tried
again. Contents are compared, not times, and read through links: Kubernetes swaps a link when a secret changes.
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
        self._failure = ""
        """Why what was seen last is not loaded."""
        try:
            self._seen = self.read()
            load(self._seen)
        except (ValueError, OSError) as error:
            raise StartError(f"{what}: {error}") from None

    def read(self) -> Contents:
        return tuple(path.read_bytes() for path in self._paths)

    def look(self) -> None:
        """Loads them if they are others than last time, or could not be loaded then: a certificate may become valid."""
        try:
            contents: Contents | str = self.read()
        except OSError as error:
            contents = str(error)
        if contents == self._seen and not self._failure:
            return
        before = self._seen, self._failure
        self._seen, self._failure = contents, self._failure_of(contents)
        if not self._failure:
            log.info("changed files are loaded", what=self._what)
        elif before != (self._seen, self._failure):
            text = "changed files cannot be used, what was loaded before stays"
            log.error(text, what=self._what, error=self._failure)

    def _failure_of(self, contents: Contents | str) -> str:
        """Why they could not be loaded; empty if they were."""
        try:
            if isinstance(contents, str):
                raise ValueError(contents)
            self._load(contents)
        except (ValueError, OSError) as error:
            return str(error) or type(error).__name__
        return ""
