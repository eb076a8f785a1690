"""from_reference against a second implementation from the papers, over arguments that no golden case combines."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from swin_handler.models import from_reference, swin
from tests.handler.goldens import checkpoint
from tests.handler.models import plain_swin
from tests.handler.models.test_reference import official

BASE: dict[str, Any] = {
    "img_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4,
    "num_classes": 3,
}  # fmt: skip
BOTH = {
    "as the papers have it": {},
    "one stage": {"depths": [3], "num_heads": [2]},
    "three stages and odd depths": {"depths": [1, 3, 2], "num_heads": [1, 2, 4]},
    "a wide map": {"img_size": (16, 64)},
    "a wide map in wide patches": {"img_size": (16, 64), "patch_size": (2, 4)},
    "a map as low as its window": {"img_size": (8, 64), "depths": [4, 2]},
    "a window larger than the map": {"window_size": 40},
    "a window as large as the map": {"window_size": 16},
    "a window larger than the second map": {"window_size": 16, "depths": [2, 4]},
    "odd windows": {"img_size": 60, "window_size": 5, "num_heads": [2, 4], "patch_size": 3},
    "an image that patches do not fill": {"img_size": (33, 32)},
    "positions and no patch norm": {"ape": True, "patch_norm": False},
    "no bias of queries, keys and values": {"qkv_bias": False},
    "another ratio": {"mlp_ratio": 1.5},
}
V1 = {
    "a scale": {"qk_scale": 0.3},
    "a scale without biases": {"qk_scale": 2.0, "qkv_bias": False, "ape": True},
    "no scale": {"qk_scale": 0.0},
}
V2 = {
    "trained in smaller windows": {"pretrained_window_sizes": [2, 3]},
    "trained in larger windows, in one stage": {"pretrained_window_sizes": [12, 0]},
    "trained in windows that were clipped": {"window_size": 16, "pretrained_window_sizes": [12, 6], "ape": True},
}
CASES = [
    *[("swin", name, {**BASE, **changes}) for name, changes in {**BOTH, **V1}.items()],
    *[("swinv2", name, {**BASE, **changes}) for name, changes in {**BOTH, **V2}.items()],
]


TOLERANCE = {"swin": 1e-5, "swinv2": 5e-5}
"""Two float32 implementations that add in another order; V2's scores are multiplied by up to 100 in between."""


def drawn(family: str, arch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """A checkpoint in the reference's layout with weights as healthy as the golden cases'."""
    built = swin.swin if family == "swin" else swin.swinv2
    state = official(built(**arch)).items()
    return {key: checkpoint.draw(key, list(tensor.shape), kind(key, tensor)) for key, tensor in state}


def kind(key: str, tensor: torch.Tensor) -> str:
    if "logit_scale" in key:
        return "logit_scale"
    if key.endswith(("bias_table", "absolute_pos_embed")):
        return "table"
    if tensor.ndim > 1:
        return "weight"
    return "bias" if key.endswith("bias") else "scale"


@pytest.mark.parametrize(("family", "arch"), [case[::2] for case in CASES], ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_it_agrees_with_a_plain_implementation(family: str, arch: dict[str, Any]) -> None:
    state = drawn(family, arch)
    size = arch["img_size"] if isinstance(arch["img_size"], tuple) else (arch["img_size"],) * 2
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1
    model: Any = from_reference(family, arch, state)
    with torch.inference_mode():
        features, logits = plain_swin.forward(family, arch, state, images)
        ours = model.forward_head(model.forward_features(images), pre_logits=True)
        assert float((ours - features).abs().max()) <= TOLERANCE[family]
        assert float((model(images) - logits).abs().max()) <= TOLERANCE[family]
    assert math.isfinite(float(logits.sum()))


@pytest.mark.parametrize("name", ["swin_micro_ape", "swin_micro_rectangular", "swinv2_micro_pretrained_window"])
def test_the_plain_implementation_agrees_with_the_golden_cases(name: str) -> None:
    case = checkpoint.load_case(name)
    family = "swinv2" if "v2" in name else "swin"
    with torch.inference_mode():
        answer = plain_swin.forward(family, case["arch"], checkpoint.state_dict(case), checkpoint.model_input(case))
    for ours, expected in zip(answer, ("features", "logits"), strict=True):
        assert float((ours - checkpoint.outputs(case)[expected]).abs().max()) <= 1e-5
