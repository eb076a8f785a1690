"""A whole archive -> one that says something else of itself."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any


def with_manifest(archive: Path, target: Path, **changes: Any) -> None:
    """A copy of an archive whose manifest says something else."""
    with zipfile.ZipFile(archive) as original, zipfile.ZipFile(target, "w") as copy:
        for name in original.namelist():
            content = original.read(name)
            if name == "swinserve.json":
                content = json.dumps({**json.loads(content), **changes}).encode()
            copy.writestr(name, content)
