"""Model store -> `Built`: the archives in it, whole or not, read without torch."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from swin_handler.build.errors import BuildRefused
from swin_handler.config import Manifest
from swin_handler.errors import BadArchive

# What a file that is no archive of ours makes zipfile, json and our reading of them raise.
_BROKEN = (OSError, zipfile.BadZipFile, EOFError, LookupError, ValueError, TypeError, AttributeError)
_INCOMPLETE = "this is no complete model archive: build it again"


@dataclass(frozen=True)
class Built:
    path: Path
    size: int
    """Bytes."""
    written: datetime
    manifest: Manifest | None
    problem: str = ""
    """Why there is no manifest."""

    @property
    def identity(self) -> str:
        """What `swinserve serve` takes."""
        return f"{self.manifest.name}@{self.manifest.version}" if self.manifest else self.path.name


def archives(folder: Path) -> list[Built]:
    """By name and version; those that cannot be served say why. No folder: no archives."""
    found = [read(path) for path in folder.glob("*.mar")]
    return sorted(found, key=lambda archive: (archive.identity.partition("@")[0], _version_key(archive.identity)))


def read(path: Path) -> Built:
    """Raises BuildRefused if there is no such file."""
    try:
        status = path.stat()
    except OSError as error:
        raise BuildRefused(f"{path} cannot be read: {error.strerror}") from error
    manifest, problem = None, ""
    try:
        manifest = Manifest.parse(_read(path, "swinserve.json"))
    except BadArchive as error:
        problem = str(error)
    except _BROKEN:
        problem = _INCOMPLETE
    return Built(path, status.st_size, datetime.fromtimestamp(status.st_mtime), manifest, problem)


def find(name: str, folder: Path) -> Built | None:
    """The archive at a path to a .mar, or NAME@VERSION, or the newest NAME of the model store.

    Raises BuildRefused for a path or a version that is not there.
    """
    if name.endswith(".mar"):
        return read(Path(name))
    model, at, version = name.partition("@")
    there = archives(folder)
    # A broken one says nothing of itself but in its file's name.
    names = (name, f"{model}-{version}.mar") if at else (name,)
    matching = [a for a in there if a.identity in names or (a.manifest and a.manifest.name == name)]
    if at and not matching:
        has = ", ".join(archive.identity for archive in there) or "nothing"
        raise BuildRefused(f"{folder} has no {name}; it has {has}")
    return matching[-1] if matching else None


def member(path: Path, name: str) -> Any:
    """A JSON file inside an archive. Raises BuildRefused if it is not there or not whole."""
    try:
        return _read(path, name)
    except _BROKEN as error:
        raise BuildRefused(f"{path}: {_INCOMPLETE}") from error


def _read(path: Path, name: str) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(name))


def _version_key(identity: str) -> list[tuple[int, str]]:
    """Orders 1.10 after 1.9."""
    parts = identity.partition("@")[2].split(".")
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
