"""Any classifier of timm as the engine runs it: uint8 (B, H, W, 3) on the device -> Outputs, all on the device."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from swin_handler.abilities import SplitModel
from swin_handler.activation_map import channels_last
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs


class NormalisedModel(nn.Module):
    """One graph, normalisation included."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.model = model.module
        self.dtype = torch.float32
        self._has_head = bool(model.labels)
        self._has_embedding = model.abilities.embedding_size > 0
        self._features_size = classifier(model).in_features if model.abilities.activation_map else 0
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(model.data_config[name], dtype=torch.float32).view(1, 3, 1, 1))

    def round_to(self, dtype: torch.dtype) -> None:
        """Turn the model's weights, not the normalisation, into `dtype`."""
        self.dtype = dtype
        self.model.to(dtype)

    def forward(self, pixels: torch.Tensor) -> Outputs:
        # In float32 and in torchvision's order (÷255, −mean, ÷std), so that it equals timm's pipeline to the bit;
        # rounded once, to the model's dtype.
        x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div(255)
        x = x.sub(self.mean).div(self.std).to(self.dtype)  # (B, 3, H, W)
        if not self._has_head:
            embedding = self.model(x)  # (B, D)
            return Outputs(embedding[:, :0].float(), embedding, None)
        if not self._has_embedding:
            return Outputs(self.model(x).float(), None, None)
        return self._in_halves(x)

    def _in_halves(self, x: torch.Tensor) -> Outputs:
        halves = cast(SplitModel, self.model)
        features = halves.forward_features(x)
        # The head twice; the second time is the pooling alone, less than a ten-thousandth of Swin-T's pass.
        logits = halves.forward_head(features).float()  # (B, classes)
        embedding = halves.forward_head(features, pre_logits=True)  # (B, D)
        places = channels_last(features, self._features_size) if self._features_size else None
        return Outputs(logits, embedding, places)  # places: (B, h, w, C)


def classifier(model: LoadedModel) -> nn.Linear:
    """The layer that makes class activation maps from features, of a model that has them."""
    layer = cast(SplitModel, model.module).get_classifier()
    assert isinstance(layer, nn.Linear), "the builder has seen that it is one"
    return layer
