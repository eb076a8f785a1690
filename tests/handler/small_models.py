"""timm classifiers of few pixels and random weights, as the worker holds them once they are loaded."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from swin_handler import models  # registers shunted_tiny  # noqa: F401
from swin_handler.abilities import abilities
from swin_handler.model import LoadedModel

CLASSES = 6
_WIDE = (64, 96)  # not square: a map whose rows and columns are swapped shows
_SWIN = {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}

MAPPED = {
    "swin_tiny_patch4_window7_224": ({"img_size": _WIDE, **_SWIN}, _WIDE, 48, (8, 12)),
    "swinv2_tiny_window8_256": ({"img_size": _WIDE, **_SWIN}, _WIDE, 48, (8, 12)),
    "shunted_tiny": ({"img_size": _WIDE}, _WIDE, 512, (2, 3)),
    "resnet18": ({}, _WIDE, 512, (2, 3)),
    "pvt_v2_b0": ({}, _WIDE, 256, (2, 3)),
}
"""name -> (arguments, input size, embedding size, map size): the logits are the mean of a class activation map"""

UNMAPPED = {
    "convnext_atto": ({}, _WIDE, 320),  # norm after the pooling
    "vit_tiny_patch16_224": ({"img_size": _WIDE, "depth": 2}, _WIDE, 192),  # the class token
    "deit_tiny_distilled_patch16_224": ({"img_size": _WIDE, "depth": 2}, _WIDE, 192),  # two heads
    "mobilenetv3_small_050": ({}, _WIDE, 1024),  # a nonlinear layer after the pooling
}
"""name -> (arguments, input size, embedding size): they are not"""


def classifier(name: str, arguments: dict[str, Any], num_classes: int = CLASSES) -> nn.Module:
    torch.manual_seed(2)
    module = timm.create_model(name, num_classes=num_classes, **arguments).eval()
    if isinstance(head := module.get_classifier(), nn.Linear):
        nn.init.normal_(head.weight, std=0.3)  # scores far apart, as trained ones are
        nn.init.normal_(head.bias)
    return module


def loaded(module: nn.Module, size: tuple[int, int]) -> LoadedModel:
    data_config = {
        "input_size": (3, *size),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    labels = tuple(f"class_{index}" for index in range(module.num_classes))
    return LoadedModel(module, data_config, labels, abilities(module, (3, *size)))
