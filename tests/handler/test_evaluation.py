"""Preprocessing in words: the pixels it names are those that timm's own transform makes."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from timm.data.transforms_factory import create_transform

from swin_handler.build import official
from swin_handler.build.evaluation import Evaluation


def config(size: tuple[int, int], crop_pct: float, crop_mode: str = "center") -> dict[str, Any]:
    return {"input_size": (3, *size), "crop_pct": crop_pct, "crop_mode": crop_mode, "interpolation": "bicubic"}


@pytest.mark.parametrize(
    ("data_config", "words", "resized"),
    [
        (config((224, 224), 0.9), "short side to 248 (bicubic), middle 224×224", (496, 248)),
        (config((256, 256), 0.9), "short side to 284 (bicubic), middle 256×256", (568, 284)),
        (config((192, 192), 0.9), "short side to 213 (bicubic), middle 192×192", (426, 213)),
        (config((384, 384), 1.0), "short side to 384 (bicubic), middle 384×384", (768, 384)),
        (config((384, 384), 1.0, "squash"), "squashed to 384×384 (bicubic)", (384, 384)),
        (config((224, 224), 0.875, "squash"), "squashed to 256×256 (bicubic), middle 224×224", (256, 256)),
        (config((224, 224), 1.0, "border"), "fitted into 224×224 (bicubic), padded to 224×224", (224, 112)),
        (config((192, 256), 0.8), "scaled to cover 240×320 (bicubic), middle 192×256", (480, 240)),
    ],
)
def test_the_words_name_the_pixels_of_timms_transform(
    data_config: dict[str, Any], words: str, resized: tuple[int, int]
) -> None:
    assert str(Evaluation.of(data_config)) == words
    resize = create_transform(**data_config).transforms[0]
    assert resize(Image.new("RGB", (1000, 500))).size == resized


@pytest.mark.parametrize(("size", "edge"), [(192, 219), (224, 256), (256, 292)])
def test_the_authors_crop_more_than_timm(size: int, edge: int) -> None:
    data_config = {**config((size, size), 0.9), **official.evaluation("swin", (size, size))}
    assert str(Evaluation.of(data_config)) == f"short side to {edge} (bicubic), middle {size}×{size}"


def test_the_authors_squash_at_384() -> None:
    data_config = {**config((384, 384), 1.0), **official.evaluation("swinv2", (384, 384))}
    assert str(Evaluation.of(data_config)) == "squashed to 384×384 (bicubic)"
