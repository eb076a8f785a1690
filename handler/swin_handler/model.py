"""Unpacked archive -> timm model with its weights (strictly loaded, checksum verified), labels, preprocessing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.config import resolve_data_config
from torch import nn

from swin_handler import models
from swin_handler.config import Abilities, Manifest
from swin_handler.errors import BadArchive

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
LABELS_FILE = "labels.json"


@dataclass(frozen=True)
class LoadedModel:
    module: nn.Module
    """timm classifier, float32, on the CPU, in eval mode: float32 (B, 3, H, W), normalised -> logits (B, classes), or,
    without a head, -> embeddings (B, D)"""
    data_config: Mapping[str, Any]
    """timm's preprocessing: input_size, interpolation, crop_pct, crop_mode, mean, std"""
    labels: tuple[str, ...]
    """Empty for a model without a head."""
    abilities: Abilities


def load(folder: Path, manifest: Manifest) -> LoadedModel:
    """Raises BadArchive with one line that says what does not fit."""
    verify(folder / WEIGHTS_FILE, manifest.weights_sha256)
    config = _read_json(folder / CONFIG_FILE)
    labels = tuple(_read_json(folder / LABELS_FILE))
    if len(labels) != manifest.num_classes:
        raise BadArchive(f"{LABELS_FILE} has {len(labels)} labels, the model {manifest.num_classes} classes")
    module = build(folder, num_classes=manifest.num_classes)
    try:
        module.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise BadArchive(f"{WEIGHTS_FILE} does not fit {manifest.architecture}: {error}") from error
    models.fold_batch_norm(module.eval())
    return LoadedModel(module, preprocessing(config["pretrained_cfg"]), labels, manifest.abilities)


def build(folder: Path, *, num_classes: int) -> nn.Module:
    """The architecture of `folder`/config.json, with weights yet to be loaded."""
    module = timm.create_model(f"local-dir:{folder}", pretrained=False, num_classes=num_classes)
    assert isinstance(module, nn.Module)
    return module


def preprocessing(pretrained_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """timm's data_config of the weights: input_size, interpolation, crop_pct, crop_mode, mean, std"""
    data_config: dict[str, Any] = resolve_data_config({}, pretrained_cfg=pretrained_cfg)  # type: ignore[no-untyped-call]
    return data_config


def verify(weights: Path, expected: str) -> None:
    actual = sha256(weights)
    if actual != expected:
        raise BadArchive(
            f"{weights.name} has SHA-256 {actual[:12]}…, the manifest says {expected[:12]}…: "
            "the archive was changed or damaged; build it again"
        )


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises BadArchive when it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadArchive(f"{file.name} cannot be read: {error}") from error


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadArchive(f"{file.name} cannot be read: {error}") from error
