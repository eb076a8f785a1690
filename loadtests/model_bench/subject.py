"""A model's name -> the model with fixed random weights, its images, and what it answers to them in eager float32."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from timm.layers.config import set_fused_attn
from torch import nn

from swin_handler import models
from swin_handler.abilities import abilities
from swin_handler.model import LoadedModel

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "swin_tiny": ("swin_tiny_patch4_window7_224", {}),
    "swin_base": ("swin_base_patch4_window7_224", {}),
    "swinv2_tiny": ("swinv2_tiny_window8_256", {}),
    "resnet50": ("resnet50", {}),
    "micro": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 56, "embed_dim": 32, "depths": (2, 1), "num_heads": (1, 2), "num_classes": 10},
    ),
}
"""short name -> timm's name and arguments; `micro` is for trying the benchmark itself"""


@dataclass(frozen=True)
class Subject:
    name: str
    module: nn.Module
    """float32, eval, on the CPU; nobody may change it, see `copy`"""
    data_config: dict[str, Any]
    pixels: torch.Tensor
    """uint8 (B, H, W, 3): the input of ours"""
    images: torch.Tensor
    """float32 (B, 3, H, W): the same, normalised: the input of the others"""
    expected: torch.Tensor
    """float32 (B, classes)"""

    @classmethod
    def make(cls, name: str, batch: int) -> Subject:
        module = timm_module(name)
        data_config: dict[str, Any] = resolve_data_config({}, model=module)  # type: ignore[no-untyped-call]
        height, width = module_size(module, data_config)
        generator = torch.Generator().manual_seed(1)
        pixels = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)
        mean, std = (torch.tensor(data_config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        images = pixels.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std).contiguous()
        with torch.inference_mode():
            expected = module(images)
        return cls(name, module, {**data_config, "input_size": (3, height, width)}, pixels, images, expected)

    @property
    def batch(self) -> int:
        return len(self.pixels)

    def copy(self) -> nn.Module:
        return deepcopy(self.module)

    def fused(self) -> nn.Module:
        """The same model built with timm's experimental fused attention switched on."""
        module = timm_module(self.name, fused=True)
        module.load_state_dict(self.module.state_dict())
        return module

    def loaded(self) -> LoadedModel:
        """As the worker holds it after loading an archive."""
        module = self.copy()
        models.fold_batch_norm(module)
        labels = tuple(str(index) for index in range(self.expected.shape[1]))
        return LoadedModel(module, self.data_config, labels, abilities(module, self.data_config["input_size"]))

    def relative_l2(self, logits: torch.Tensor) -> float:
        """Of a contender's answer, against eager float32."""
        return float((logits.float() - self.expected).norm() / self.expected.norm())


def timm_module(name: str, *, fused: bool = False) -> nn.Module:
    """The same weights at every call."""
    architecture, arguments = ARCHITECTURES[name]
    torch.manual_seed(0)
    set_fused_attn(True, experimental=fused)  # read by constructors
    try:
        module = timm.create_model(architecture, pretrained=False, **arguments).eval()
    finally:
        set_fused_attn(True, experimental=False)
    assert isinstance(module, nn.Module)
    module.apply(_disturb_norm)
    return module


def module_size(module: nn.Module, data_config: dict[str, Any]) -> tuple[int, int]:
    """Pixels (height, width) that the model takes."""
    embed: Any = getattr(module, "patch_embed", None)
    height, width = data_config["input_size"][-2:] if embed is None else embed.img_size
    return height, width


@torch.no_grad()
def _disturb_norm(layer: nn.Module) -> None:
    # As timm starts them, V2's blocks and ResNet's residual branches answer zero, which would hide a wrong kernel.
    if isinstance(layer, nn.LayerNorm | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 0.5, 0.1)
        nn.init.normal_(layer.bias, 0.0, 0.1)
