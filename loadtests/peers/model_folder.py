"""A model archive (.mar) -> the folder that every peer's server takes as --model.

model.safetensors   timm's state dict
labels.txt          a line for each class, as our own answers name it
archive/            the archive's contents
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from swin_handler import raw


def unpack(archive: Path, folder: Path) -> Path:
    """`folder`, filled."""
    contents = folder / "archive"
    with zipfile.ZipFile(archive) as mar:
        mar.extractall(contents)
    labels = raw.unique(json.loads((contents / "labels.json").read_text(encoding="utf-8")))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    (folder / "model.safetensors").hardlink_to(contents / "model.safetensors")
    return folder
