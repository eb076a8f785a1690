"""Outputs <-> the plain tuple of tensors that ahead-of-time compilers take and give."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs


class FlatNetwork(nn.Module):
    """uint8 (B, H, W, 3) -> those of the network's outputs that `parts` names"""

    def __init__(self, network: nn.Module, parts: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._parts = tuple(parts)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.network(pixels)
        return tuple(getattr(outputs, part) for part in self._parts)


def parts(model: LoadedModel) -> tuple[str, ...]:
    """The fields of Outputs that this model fills, in order."""
    if not model.labels:
        return ("embedding",)  # its logits are (B, 0), which compilers stumble over
    embedding = ("embedding",) if model.abilities.embedding_size else ()
    features = ("features",) if model.abilities.activation_map else ()
    return ("logits", *embedding, *features)


def outputs(parts: Sequence[str], tensors: Sequence[torch.Tensor]) -> Outputs:
    """What `parts` names, in the same order, as Outputs; logits in float32."""
    found = dict(zip(parts, tensors, strict=True))
    embedding, features = found.get("embedding"), found.get("features")
    if (logits := found.get("logits")) is None:
        assert embedding is not None, "a model without a head gives embeddings"
        logits = embedding[:, :0]
    return Outputs(logits.float(), embedding, features)
