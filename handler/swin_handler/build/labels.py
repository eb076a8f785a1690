"""Number of classes -> one label per class: from a file, the checkpoint's own, ImageNet's, else numbered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

from swin_handler.build.errors import BuildRefused


def choose(num_classes: int, *, file: Path | None, own: Sequence[str] | None) -> list[str]:
    """own: the names that came with the weights. Raises BuildRefused when their number does not fit."""
    if num_classes == 0:
        return []
    if file is not None:
        return _checked(_read(file), num_classes, str(file))
    if own:
        return _checked(list(own), num_classes, "the weights' configuration")
    if subset := infer_imagenet_subset({"num_classes": num_classes}):
        return list(ImageNetInfo(subset).label_descriptions())
    return [f"class_{index}" for index in range(num_classes)]


def _read(file: Path) -> list[str]:
    """A JSON list of strings, or one label per line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildRefused(f"the labels cannot be read from {file}: {error}") from error
    if not text.lstrip().startswith("["):
        return [line.strip() for line in text.strip().splitlines()]
    try:
        return list(json.loads(text))
    except ValueError as error:
        raise BuildRefused(f"{file} starts like a JSON list but is none: {error}") from error


def _checked(labels: list[str], num_classes: int, where: str) -> list[str]:
    if not all(isinstance(label, str) and label for label in labels):
        raise BuildRefused(f"{where}: every label must be a text that is not empty")
    if len(labels) != num_classes:
        raise BuildRefused(f"{where} has {len(labels)} labels, the model has {num_classes} classes")
    return labels
