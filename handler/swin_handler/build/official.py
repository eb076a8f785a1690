"""Weights in a file of the authors' own -> the preprocessing of the authors' own evaluation.

timm's preprocessing of the same weights differs (it crops less), and each has its own top-1: docs/reference/models.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swin_handler.build.classifier import Classifier

FAMILIES = {"swin": "Swin V1", "swinv2": "Swin V2", "shunted": "Shunted Transformer"}
_SQUASHED_FROM = 384
"""Image size from which the official Swin configurations switch TEST.CROP off."""


def evaluation(family: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """crop_pct, crop_mode and interpolation, in timm's words.

    The short side is resized to int(256/224 · size), then the middle is cropped; Swin's configurations for 384 pixels
    resize to the square instead. Source: microsoft/Swin-Transformer, data/build.py; the Shunted Transformer's code is
    PVT's, whose datasets.py has the first rule alone.
    """
    size = max(image_size)
    if family != "shunted" and size >= _SQUASHED_FROM:
        return {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bicubic"}
    return {"crop_pct": _crop_pct(size), "crop_mode": "center", "interpolation": "bicubic"}


def preprocessed(classifier: Classifier, family: str) -> Classifier:
    cfg: Mapping[str, Any] = classifier.pretrained_cfg
    height, width = cfg["input_size"][-2:]
    theirs = evaluation(family, (height, width))
    note = (
        f"a checkpoint in the layout of the authors of {FAMILIES[family]}: preprocessed as in their evaluation, "
        f"crop_pct {theirs['crop_pct']:.3f}, {theirs['crop_mode']}"
    )
    if family != "shunted":
        note += f" (timm's own weights: {cfg['crop_pct']})"
    return replace(classifier, pretrained_cfg={**cfg, **theirs}).noted(note)


def _crop_pct(size: int) -> float:
    resized = int(256 / 224 * size)
    pct = size / resized
    # timm resizes to floor(size / crop_pct), which rounding may bring one pixel too low.
    return pct if math.floor(size / pct) == resized else math.nextafter(pct, 0.0)
