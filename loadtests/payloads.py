"""Files that users send, good and malformed, each with the answer that is right for it."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SAMPLES = Path(__file__).resolve().parents[1] / "model_store" / "swin_digits" / "samples"
SIZES = (96, 512, 1600)
"""Pixels along each edge: under the model's input, a usual picture, a camera's."""
FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Payload:
    name: str
    content: bytes
    label: str = ""
    """The right label; empty where any will do, or where the file is malformed."""
    reason: str = ""
    """The right error's reason, for a malformed file."""


def good(samples: Sequence[Path]) -> list[Payload]:
    """The digits as they are, named `<label>-<whatever>`, and one in each format and size, drawn larger or smaller."""
    payloads = [Payload(path.name, path.read_bytes(), _label(path)) for path in samples]
    turns = itertools.cycle(samples)
    for path, kind, size in zip(turns, FORMATS * len(SIZES), sorted(SIZES * len(FORMATS)), strict=False):
        buffer = io.BytesIO()
        Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC).save(buffer, kind)
        payloads.append(Payload(f"{path.stem}.{size}.{kind.lower()}", buffer.getvalue(), _label(path)))
    return payloads


def malformed(samples: Sequence[Path]) -> list[Payload]:
    """What is no image, or only half of one."""
    whole = next(path for path in samples if path.suffix == ".jpg").read_bytes()
    return [
        Payload("truncated", whole[: len(whole) // 2], reason="UNDECODABLE"),
        Payload("noise", random.Random(0).randbytes(5000), reason="UNSUPPORTED_TYPE"),
        Payload("text", b"this is a poem and no image\n" * 20, reason="UNSUPPORTED_TYPE"),
        Payload("empty", b"", reason="INVALID_REQUEST"),
    ]


def _label(path: Path) -> str:
    return path.name.split("-")[0]
