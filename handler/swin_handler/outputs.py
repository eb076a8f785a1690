"""What one forward pass gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch


class Outputs(NamedTuple):
    """Of B images. Only the logits leave the device unasked: they are all that most requests need."""

    logits: torch.Tensor
    """float32 (B, classes); (B, 0) for a model without a head"""
    embedding: torch.Tensor | None
    """(B, D) on the device, in the model's dtype: the pooled features before the head; None if the model has none"""
    features: torch.Tensor | None
    """(B, h, w, C) on the device, in the model's dtype: what class activation maps are made of; None: it has none"""

    @property
    def answer(self) -> torch.Tensor:
        """What the model is judged by, float32 on the CPU: its logits, or the embedding if it has no head."""
        if self.logits.shape[1]:
            return self.logits.cpu()
        assert self.embedding is not None, "a model without a head gives embeddings"
        return self.embedding.float().cpu()

    def first(self, size: int) -> Self:
        """The first `size` images: what is left without the padding."""
        embedding = None if self.embedding is None else self.embedding[:size]
        features = None if self.features is None else self.features[:size]
        return self._replace(logits=self.logits[:size], embedding=embedding, features=features)

    def on_cpu(self) -> Self:
        """With the logits on the CPU, which waits for the device."""
        return self._replace(logits=self.logits.cpu())


def joined(parts: Sequence[Outputs]) -> Outputs:
    """One after the other; they come from the same model, so all have the same fields."""
    logits = torch.cat([part.logits for part in parts])
    return Outputs(logits, _cat([part.embedding for part in parts]), _cat([part.features for part in parts]))


def _cat(values: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [value for value in values if value is not None]
    return torch.cat(present) if present else None
