from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from swin_handler import model, models
from swin_handler.config import Manifest


def test_batch_norm_is_folded_once_the_weights_are_in(
    monkeypatch: pytest.MonkeyPatch, unpacked: Path, manifest: Manifest
) -> None:
    seen: list[nn.Module] = []

    def fold(module: nn.Module) -> None:
        assert not module.training
        stored = load_file(unpacked / model.WEIGHTS_FILE)
        assert torch.equal(module.head.fc.weight, stored["head.fc.weight"])
        seen.append(module)

    monkeypatch.setattr(models, "fold_batch_norm", fold)
    assert [model.load(unpacked, manifest).module] == seen


def test_a_loaded_model_can_what_its_manifest_says(unpacked: Path, manifest: Manifest) -> None:
    assert model.load(unpacked, manifest).abilities == manifest.abilities
