"""Photos that scikit-learn and matplotlib bring -> JPEG files of the sizes that people send."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import sklearn.datasets
from PIL import Image, ImageOps

SMALL = (500, 375)
LARGE = (1600, 1200)
_PATCH = 400
"""Pixels of a patch's edge: every photo is a little larger."""


def photos() -> list[Image.Image]:
    """A temple, a flower and an admiral, of about 600 pixels."""
    folder = Path(sklearn.datasets.__file__).parent / "images"
    paths = (
        folder / "china.jpg",
        folder / "flower.jpg",
        Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg",
    )
    return [Image.open(path).convert("RGB") for path in paths]


def small() -> list[Image.Image]:
    return [ImageOps.fit(photo, SMALL, Image.Resampling.LANCZOS) for photo in photos()]


def large() -> list[Image.Image]:
    """Patches of the photos, pixel for pixel: enlarged ones would be smoother than large photos, and quicker."""
    found = photos()
    return [_mosaic([*found[first:], *found[:first]]) for first in range(len(found))]


def _mosaic(found: Sequence[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", LARGE)
    places = [(x, y) for y in range(0, LARGE[1], _PATCH) for x in range(0, LARGE[0], _PATCH)]
    for number, place in enumerate(places):
        photo = found[number % len(found)]
        room = photo.width - _PATCH, photo.height - _PATCH
        left, top = (edge * number // (len(places) - 1) for edge in room)
        canvas.paste(photo.crop((left, top, left + _PATCH, top + _PATCH)), place)
    return canvas


def jpeg(image: Image.Image, **options: Any) -> bytes:
    """At quality 90, and with a quarter of the colour (4:2:0) unless the options say otherwise."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 90, "subsampling": "4:2:0", **options})
    return stream.getvalue()


def files() -> dict[str, list[bytes]]:
    """Kind -> files: each size as most are, without subsampling, and progressive."""
    kinds: dict[str, dict[str, Any]] = {
        "": {},
        " 4:4:4": {"subsampling": "4:4:4"},
        " progressive": {"progressive": True},
    }
    return {
        f"{size[0]}×{size[1]}{kind}": [jpeg(image, **options) for image in images]
        for size, images in ((SMALL, small()), (LARGE, large()))
        for kind, options in kinds.items()
    }
