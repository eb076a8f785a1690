"""NAME and changes of size -> a classifier with weights yet to be loaded, and how to build it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from swin_handler import model
from swin_handler.build import store
from swin_handler.build.errors import BuildRefused


@dataclass(frozen=True)
class Classifier:
    module: nn.Module
    """float32, on the CPU, in eval mode"""
    architecture: str
    """timm's name without tag"""
    model_args: Mapping[str, Any]
    pretrained_cfg: Mapping[str, Any]
    """timm's configuration of the weights: preprocessing, classifier, num_classes"""
    label_names: Sequence[str] | None
    source: str
    """Where the weights come from, in words."""
    notes: tuple[str, ...] = ()
    """What was done to the weights on the way, for the builder's log."""

    @property
    def num_classes(self) -> int:
        """0 for a model without a head, which gives embeddings alone."""
        return int(self.pretrained_cfg["num_classes"])

    @property
    def head(self) -> str:
        """Name of the classifying layer."""
        named = self.pretrained_cfg.get("classifier")
        return str(named[0] if isinstance(named, list | tuple) else named)

    def noted(self, *notes: str) -> Self:
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Changes:
    """How the model differs from the one that its weights were trained in."""

    image_size: tuple[int, int] | None = None
    """(height, width)"""
    window_size: int | None = None
    headless: bool = False


@dataclass(frozen=True)
class Design:
    """What there is to know of a name before any module is built."""

    architecture: str
    model_args: Mapping[str, Any]
    pretrained_cfg: Mapping[str, Any]
    label_names: Sequence[str] | None


def skeleton(name: str, changes: Changes | None = None, *, num_classes: int | None = None) -> Classifier:
    """The classifier of a timm name (with or without tag) or of the built-in model, with initial weights.

    num_classes: of the weights to come; None for the architecture's own. Raises BuildRefused for sizes that the
    architecture cannot have.
    """
    changes = changes or Changes()
    plan = design(name)
    own_classes = int(plan.pretrained_cfg["num_classes"])
    classes = 0 if changes.headless else own_classes if num_classes is None else num_classes
    arguments = {**plan.model_args, **_size_arguments(plan, changes)}
    size = {} if changes.image_size is None else {"input_size": (3, *changes.image_size)}
    trained = arguments.get("pretrained_window_sizes")
    notes = (
        [f"position biases are computed in the coordinates of the windows trained with, {trained}"] if trained else []
    )
    return Classifier(
        module=_create(plan.architecture, num_classes=classes, **arguments).eval(),
        architecture=plan.architecture,
        model_args=arguments,
        pretrained_cfg={**plan.pretrained_cfg, **size, "num_classes": classes},
        label_names=plan.label_names if classes == own_classes else None,
        source="none",
        notes=tuple(notes),
    )


def design(name: str) -> Design:
    """Of a timm name that is known, or of the built-in model. Raises BuildRefused when that one cannot be read."""
    if name != store.BUILT_IN:
        known: Any = timm.get_pretrained_cfg(name)
        assert known is not None, "check_name refuses names that timm does not know"
        architecture = name.partition(".")[0]
        kept = {key: value for key, value in known.to_dict().items() if value is not None}
        return Design(architecture, {}, {**kept, "architecture": architecture}, None)
    folder = store.built_in_folder()
    try:
        config = json.loads((folder / model.CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildRefused(f"the built-in model cannot be read from {folder}: {error}") from error
    cfg = {**config["pretrained_cfg"], "num_classes": config["num_classes"]}
    return Design(config["architecture"], config.get("model_args", {}), cfg, config["label_names"])


def _create(architecture: str, **arguments: Any) -> nn.Module:
    try:
        module = timm.create_model(architecture, pretrained=False, **arguments)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise BuildRefused(f"{architecture} cannot be built with {arguments}: {error}") from error
    assert isinstance(module, nn.Module)
    return module


def _size_arguments(plan: Design, changes: Changes) -> dict[str, Any]:
    """The constructor's arguments for another image or window size."""
    arguments: dict[str, Any] = {}
    if changes.image_size is not None and plan.pretrained_cfg.get("fixed_input_size"):
        arguments["img_size"] = changes.image_size
    if changes.window_size is None and not arguments:
        return {}
    with torch.device("meta"):
        trained = _create(plan.architecture, **plan.model_args)
    if isinstance(trained, SwinTransformerV2):
        arguments["pretrained_window_sizes"] = _trained_windows(trained)
    if changes.window_size is not None:
        if not isinstance(trained, SwinTransformer | SwinTransformerV2):
            raise BuildRefused(f"{plan.architecture} has no windows: --window-size is for Swin V1 and V2")
        arguments["window_size"] = changes.window_size
    return arguments


def _trained_windows(trained: SwinTransformerV2) -> list[int]:
    """Of each stage. V2 computes its position biases from coordinates in units of the window it was trained with, so a
    bias means the same in another window (arXiv 2111.09883, section 3.3)."""
    stages: Any = trained.layers
    attentions = [stage.blocks[0].attn for stage in stages]
    return [attention.pretrained_window_size[0] or attention.window_size[0] for attention in attentions]
