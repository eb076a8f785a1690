"""Multiply-adds against published figures and against what torch counts."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from swin_handler.models.multiply_adds import count, global_attention, total, window_attention


def on_meta(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, **arguments).eval()


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("swin_tiny_patch4_window7_224", 224, 4_494_405_120),
        ("swin_small_patch4_window7_224", 224, 8_746_520_064),
        ("swin_base_patch4_window12_384", 384, 47_105_253_376),
        ("swinv2_tiny_window8_256", 256, 5_925_697_536),
        ("swinv2_tiny_window16_256", 256, 6_605_174_784),
    ],
)
def test_timms_models_cost_what_the_official_code_counts(name: str, size: int, expected: int) -> None:
    assert total(count(on_meta(name), (3, size, size))) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("shunted_tiny", 2.1e9), ("shunted_small", 4.9e9), ("shunted_base", 8.1e9)]
)
def test_shunted_costs_what_its_paper_says(name: str, expected: float) -> None:
    assert total(count(on_meta(name), (3, 224, 224))) == pytest.approx(expected, rel=0.03)


def test_shunted_is_counted_by_stage() -> None:
    assert [part.name for part in count(on_meta("shunted_tiny"), (3, 224, 224))] == [
        "stage 1", "stage 2", "stage 3", "stage 4", "head",
    ]  # fmt: skip


def test_windows_save_what_the_formulas_say() -> None:
    saved = global_attention(112, 112, 128) - window_attention(112, 112, 128, (7, 7))
    assert saved == 40_124_743_680


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "pvt_v2_b0", "convnext_atto", "shunted_tiny"])
def test_the_parts_of_any_model_add_up_to_what_torch_counts(name: str) -> None:
    model = on_meta(name)
    for part in model.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(torch.zeros(1, 3, 224, 224, device="meta"))
    parts = count(model, (3, 224, 224))
    assert total(parts) == counter.get_total_flops() // 2
    assert max(part.multiply_adds for part in parts) < total(parts)
    assert "elsewhere" not in [part.name for part in parts]


def test_fused_attention_is_counted_and_then_fused_again() -> None:
    model = on_meta("vit_tiny_patch16_224")
    unfused = on_meta("vit_tiny_patch16_224")
    for module in unfused.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    assert total(count(model, (3, 224, 224))) == total(count(unfused, (3, 224, 224)))
    assert any(getattr(module, "fused_attn", False) for module in model.modules())


def test_a_model_that_passes_parameters_on_is_counted_and_can_still_be_trained() -> None:
    model = on_meta("test_vit3")
    assert total(count(model, (3, 160, 160))) > 0
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_windows_that_do_not_fit_the_map_are_counted_padded() -> None:
    """timm pads a 10×10 map to 14×14 for windows of 7."""
    parts = count(on_meta("swin_tiny_patch4_window7_224", img_size=160), (3, 160, 160))
    windows = parts[3].windows
    assert windows is not None
    assert windows.map_size == (10, 10)
    assert windows.windowed == 6 * window_attention(14, 14, 384, (7, 7))
