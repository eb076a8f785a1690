"""released.toml -> `Checkpoint`s: what is published of the family, and baselines; read without torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

FAMILIES: Mapping[str, str] = {
    "built-in": "Built in",
    "swin": "Swin V1",
    "swinv2": "Swin V2",
    "shunted": "Shunted",
    "baseline": "Baselines",
}
"""Family -> its title, in the order of the tables."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One set of published weights, under each of its names; released.toml says what the keys mean."""

    model: str
    family: str
    trained_on: str
    classes: int
    """0: no head"""
    input_size: int
    window: int = 0
    """0: no windows"""
    parameters: int
    multiply_adds: int
    """Of one image."""
    tag: str = ""
    """Empty: timm has no such weights."""
    top1_timm: float | None = None
    file: str = ""
    url: str = ""
    top1_official: float | None = None
    top1_digits: float | None = None

    @property
    def accuracy(self) -> str:
        """Top-1 with who measured it on what, for people; empty if none is published."""
        if self.top1_digits is not None:
            return f"{self.top1_digits} % of 450 held-out digits"
        both = ((self.top1_official, "the authors"), (self.top1_timm, "timm's results"))
        known = [f"{top1} % ({whose})" for top1, whose in both if top1 is not None]
        return f"ImageNet-1k: {', '.join(known)}" if known else ""

    @property
    def name(self) -> str:
        """What `swinserve build` takes."""
        return f"{self.model}.{self.tag}" if self.tag else self.model


@cache
def checkpoints() -> tuple[Checkpoint, ...]:
    """In the order of the file: families, then sizes."""
    return parse((Path(__file__).parent / "released.toml").read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Checkpoint, ...]:
    """Raises ValueError naming the checkpoint and the key that is unknown, missing or of another type."""
    content = tomllib.loads(text)
    if unknown := sorted(content.keys() - {"checkpoint"}):
        raise ValueError(f"released.toml: unknown {', '.join(unknown)}; known is checkpoint")
    return tuple(_checkpoint(values) for values in content.get("checkpoint", []))


def of_name(name: str) -> Checkpoint | None:
    """The checkpoint that `name` (MODEL.TAG, or the whole name of what has no tag) is exactly."""
    return next((checkpoint for checkpoint in checkpoints() if checkpoint.name == name), None)


def of_file(name: str) -> Checkpoint | None:
    """The checkpoint whose official file has this name."""
    return next((checkpoint for checkpoint in checkpoints() if checkpoint.file and checkpoint.file == name), None)


def of_weights(
    weights: str, *, input_size: Sequence[int], classes: int, model_args: Mapping[str, Any]
) -> Checkpoint | None:
    """What is published of `weights` that came from the hub or with this package, unless they are served in another
    size or with another head.

    weights: where they come from, as a manifest says it. input_size: (channels, height, width)
    """
    found = of_name(weights.removeprefix("hub timm/").removeprefix("built-in "))
    if found is None:
        return None
    published = (3, found.input_size, found.input_size), found.classes, found.window
    served = tuple(input_size), classes, model_args.get("window_size", found.window)
    return found if served == published else None


def _checkpoint(values: Mapping[str, Any]) -> Checkpoint:
    where = f"released.toml, checkpoint {values.get('file') or values.get('model')}"
    known = {field.name: field for field in fields(Checkpoint)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(known)}")
    required = {name for name, field in known.items() if field.default is MISSING}
    if missing := sorted(required - values.keys()):
        raise ValueError(f"{where}: {', '.join(missing)} is missing")
    wrong = [key for key, value in values.items() if type(value).__name__ not in str(known[key].type)]
    if wrong or values["family"] not in FAMILIES:
        raise ValueError(f"{where}: {', '.join(wrong) or 'family'} has a value that it cannot have")
    return Checkpoint(**values)
