"""Features (h, w, C) and the classifier's rows -> class activation maps, for models whose logits are the mean of one.

Where the head is mean over places, then one linear layer, `logit = W·mean(f) + b = mean(W·f + b)`: what is averaged
says how much each place speaks for the class (Zhou et al., arXiv 1512.04150).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


@torch.inference_mode()
def class_maps(features: torch.Tensor, classifier: nn.Linear, classes: Sequence[int]) -> torch.Tensor:
    """features (h, w, C), of any dtype -> float32 (classes, h, w), both on the classifier's device."""
    chosen = torch.tensor(classes, dtype=torch.long, device=features.device)
    # In float32 whatever the model's dtype: a map is a difference of small numbers, and costs next to nothing.
    maps = torch.einsum("hwc,kc->khw", features.float(), classifier.weight[chosen].float())
    return maps if classifier.bias is None else maps + classifier.bias[chosen].float()[:, None, None]


def channels_last(features: object, channels: int) -> torch.Tensor | None:
    """(B, h, w, C) or (B, C, h, w) -> (B, h, w, C); None for what is no map or could be read both ways."""
    if not isinstance(features, torch.Tensor) or features.ndim != 4:
        return None
    last, first = features.shape[-1] == channels, features.shape[1] == channels
    if last == first:
        return None
    return features if last else features.permute(0, 2, 3, 1)
