"""from_reference beyond the golden cases: arguments, refusals, and the official layout of timm's own models."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from torch import nn

from swin_handler.models import CheckpointMismatch, from_reference
from tests.handler.goldens import checkpoint

MICRO = {"img_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "num_classes": 3}
TIMM_MICRO = {**MICRO, "patch_size": 2, "window_size": 4}


def official(model: nn.Module) -> dict[str, torch.Tensor]:
    """A timm Swin's weights as the reference would have written them."""
    merged = {
        re.sub(r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key): tensor
        for key, tensor in model.state_dict().items()
    }
    names = {"head.fc.": "head.", "patch_embed.absolute": "absolute"}
    for theirs, officials in names.items():
        merged = {key.replace(theirs, officials): tensor for key, tensor in merged.items()}
    return merged


def timm_micro(name: str = "swin_tiny_patch4_window7_224", **arguments: Any) -> nn.Module:
    torch.manual_seed(5)
    model = timm.create_model(name, **{**TIMM_MICRO, **arguments}).eval()
    for parameter in model.parameters():  # V2 starts with norms of zero, which would hide its blocks
        nn.init.normal_(parameter, std=1.0 if parameter.ndim == 1 else 0.5)
    return model


def pictures(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(6))


@torch.inference_mode()
def difference(one: nn.Module, other: nn.Module, images: torch.Tensor) -> float:
    return float((one(images) - other(images)).abs().max())


def test_a_timm_model_in_official_layout_answers_as_timm() -> None:
    theirs = timm_micro()
    ours = from_reference("swin", {**MICRO, "window_size": 4}, official(theirs))
    assert difference(ours, theirs, pictures(32, 32)) == 0


def test_v2_without_qkv_bias_answers_as_timm() -> None:
    theirs = timm_micro("swinv2_tiny_window8_256", qkv_bias=False)
    ours = from_reference("swinv2", {**MICRO, "window_size": 4, "qkv_bias": False}, official(theirs))
    assert difference(ours, theirs, pictures(32, 32)) == 0


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_qk_scale_replaces_the_scale_of_the_head_dimension(qkv_bias: bool) -> None:
    theirs: Any = timm_micro(qkv_bias=qkv_bias)
    state = official(theirs)
    for stage in theirs.layers:
        for block in stage.blocks:
            block.attn.scale = 0.9
    arch = {**MICRO, "window_size": 4, "qkv_bias": qkv_bias}
    scaled = from_reference("swin", {**arch, "qk_scale": 0.9}, state)
    assert difference(scaled, theirs, pictures(32, 32)) < 1e-4
    assert difference(from_reference("swin", {**arch, "qk_scale": None}, state), theirs, pictures(32, 32)) > 1e-2


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_the_absolute_position_embedding_is_added_to_the_patches(family: str) -> None:
    theirs: Any = timm_micro("swinv2_tiny_window8_256" if family == "swinv2" else "swin_tiny_patch4_window7_224")
    position = torch.randn(1, 256, 8, generator=torch.Generator().manual_seed(7))
    state = official(theirs) | {"absolute_pos_embed": position}
    theirs.patch_embed.register_forward_hook(lambda _module, _images, patches: patches + position.view(1, 16, 16, 8))
    ours = from_reference(family, {**MICRO, "window_size": 4, "ape": True}, state)
    assert difference(ours, theirs, pictures(32, 32)) == 0


def test_v2_goes_without_a_norm_of_the_patches() -> None:
    theirs: Any = timm_micro("swinv2_tiny_window8_256")
    theirs.patch_embed.norm = nn.Identity()
    ours = from_reference("swinv2", {**MICRO, "window_size": 4, "patch_norm": False}, official(theirs))
    assert difference(ours, theirs, pictures(32, 32)) == 0


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_a_map_as_narrow_as_the_window_is_not_shifted_in_either_direction(name: str) -> None:
    """The reference's rule; timm shifts along the longer side."""
    theirs: Any = timm_micro(name, img_size=(16, 64), window_size=4)
    family = "swinv2" if "v2" in name else "swin"
    ours = from_reference(family, {**MICRO, "img_size": [16, 64], "window_size": 4}, official(theirs))
    assert difference(ours, theirs, pictures(16, 64)) > 1e-3
    for block in theirs.layers[1].blocks:
        block.shift_size = (0, 0)
        block.attn_mask = None
    assert difference(ours, theirs, pictures(16, 64)) == 0


def test_windows_are_clipped_to_the_short_side_of_the_map() -> None:
    square: Any = timm_micro(img_size=(16, 64), window_size=[(7, 7), (4, 4)], patch_size=1, embed_dim=8, depths=[2, 2])
    ours: Any = from_reference(
        "swin", {**MICRO, "img_size": [14, 56], "patch_size": 1, "window_size": 14}, _resized(square, window=14)
    )
    assert [tuple(block.window_size) for stage in ours.layers for block in stage.blocks] == [(14, 14)] * 2 + [
        (7, 7)
    ] * 2


def _resized(model: nn.Module, window: int) -> dict[str, torch.Tensor]:
    """The model's weights with zero tables for a first stage of `window` and a second of half of it."""
    sides = (window, window // 2)
    state = official(model)
    tables = [key for key in state if key.endswith("relative_position_bias_table")]
    return state | {key: torch.zeros((2 * sides[int(key[7])] - 1) ** 2, state[key].shape[1]) for key in tables}


def test_arguments_of_training_have_no_effect() -> None:
    theirs = timm_micro()
    training = {"drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5, "use_checkpoint": True}
    arch = {**MICRO, "window_size": 4, **training, "fused_window_process": True}
    ours = from_reference("swin", arch, official(theirs))
    assert not ours.training
    assert difference(ours, theirs, pictures(32, 32)) == 0


def test_weights_in_half_precision_become_float32() -> None:
    halved = {key: tensor.half() for key, tensor in official(timm_micro()).items()}
    ours = from_reference("swin", {**MICRO, "window_size": 4}, halved)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}


def test_the_given_state_dict_is_left_as_it_was() -> None:
    state = official(timm_micro())
    before = {key: tensor.clone() for key, tensor in state.items()}
    from_reference("swin", {**MICRO, "window_size": 4, "qk_scale": 2.0}, state)
    assert all(torch.equal(state[key], tensor) for key, tensor in before.items())


@pytest.mark.parametrize("family", ["swin", "swinv2", "shunted", "shunted_neck"])
def test_an_unknown_argument_is_refused_by_name(family: str) -> None:
    with pytest.raises(CheckpointMismatch, match=r"takes no argument windw_size; known are .*qkv_bias"):
        from_reference(family, {"windw_size": 7}, {})


def test_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(CheckpointMismatch, match="no family 'swin3'; there are swin, swinv2, shunted, shunted_neck"):
        from_reference("swin3", {}, {})


def test_missing_surplus_and_misshapen_tensors_are_all_listed() -> None:
    state = official(timm_micro())
    del state["norm.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["head.bias"] = torch.zeros(4)
    with pytest.raises(CheckpointMismatch) as refused:
        from_reference("swin", {**MICRO, "window_size": 4}, state)
    for line in (
        "1 tensor missing: norm.weight",
        "1 tensor surplus: extra.weight",
        "of another shape: head.bias (4,) instead of (3,)",
    ):
        assert line in str(refused.value)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"img_size": 30, "window_size": 4}, "stage 1 has a map of 15×15|cannot be halved"),
        ({"img_size": 40, "window_size": 4}, "stage 2 has a map of 10×10 tokens, which windows of 4×4 do not cover"),
        ({"img_size": 1}, "gives 0×0 tokens"),
    ],
)
def test_sizes_that_cannot_work_are_refused_with_the_reason(arch: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointMismatch, match=message):
        from_reference("swin", {**MICRO, **arch}, {})


def test_tensors_are_named_as_in_the_checkpoint() -> None:
    state = official(timm_micro())
    for key in ("head.weight", "layers.0.downsample.reduction.weight"):
        del state[key]
    state["absolute_pos_embed"] = torch.zeros(1, 256, 8)
    with pytest.raises(CheckpointMismatch) as refused:
        from_reference("swin", {**MICRO, "window_size": 4}, state)
    assert "2 tensors missing: layers.0.downsample.reduction.weight, head.weight" in str(refused.value)
    assert "1 tensor surplus: absolute_pos_embed" in str(refused.value)


def test_a_wrapped_state_dict_is_told_to_be_unwrapped() -> None:
    with pytest.raises(CheckpointMismatch, match="holds more than tensors: model, epoch; unwrap it"):
        from_reference("swin", MICRO, {"model": {}, "epoch": 3})  # type: ignore[dict-item]


def test_every_missing_tensor_is_listed() -> None:
    with pytest.raises(CheckpointMismatch) as refused:
        from_reference("shunted_neck", {"cin": 16, "depth": 2}, {})
    assert all(f"block.1.attn.{name}.weight" in str(refused.value) for name in ("q", "sr1", "kv2", "local_conv2"))


@pytest.mark.parametrize(
    ("family", "arch"),
    [
        ("swin", {"num_heads": [1]}),
        ("swin", {"window_size": 0}),
        ("swin", {"window_size": (4, 4)}),
        ("swin", {"depths": []}),
        ("swinv2", {"pretrained_window_sizes": [4]}),
        ("shunted", {"depths": [1]}),
        ("shunted_neck", {"depth": 1}),
    ],
)
def test_arguments_that_do_not_fit_each_other_are_refused(family: str, arch: dict[str, Any]) -> None:
    given = {**MICRO, **arch} if family.startswith("swin") else arch
    with pytest.raises(CheckpointMismatch):
        from_reference(family, given, {})


def test_a_checkpoint_need_not_count_its_batches() -> None:
    case = checkpoint.load_case("shunted_tiny")
    state = {key: tensor for key, tensor in checkpoint.state_dict(case).items() if "num_batches" not in key}
    from_reference("shunted", case["arch"], state)


def test_stored_buffers_are_never_trusted() -> None:
    case = checkpoint.load_case("swin_micro_ape")
    state = checkpoint.state_dict(case)
    for key, tensor in state.items():
        if key.endswith(("relative_position_index", "attn_mask")):
            state[key] = torch.full_like(tensor, 3)
    model = from_reference("swin", case["arch"], state)
    with torch.inference_mode():
        error = (model(checkpoint.model_input(case)) - checkpoint.outputs(case)["logits"]).abs().max()
    assert float(error) <= 1e-5
