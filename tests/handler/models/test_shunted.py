"""The Shunted Transformer: sizes of the three variants, input sizes, timm's interface."""

from __future__ import annotations

import pytest
import timm
import torch

from swin_handler.models import CheckpointMismatch, from_reference
from swin_handler.models.shunted import ShuntedNeck, ShuntedTransformer

MICRO = {"embed_dims": (64, 16, 16, 32), "num_heads": (2, 2, 2, 2), "mlp_ratios": (1, 1, 1, 1), "depths": (1, 1, 1, 1)}


@pytest.fixture(scope="module")
def micro() -> ShuntedTransformer:
    torch.manual_seed(2)
    return ShuntedTransformer(num_classes=3, **MICRO).eval()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("shunted_tiny", 11_553_576), ("shunted_small", 22_401_256), ("shunted_base", 39_614_376)],
)
def test_timm_creates_it_with_the_papers_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("size", [(224, 224), (31, 31), (33, 97), (40, 64), (255, 130)])
def test_any_image_large_enough_works(micro: ShuntedTransformer, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = micro(torch.randn(2, 3, *size))
    assert logits.shape == (2, 3)
    assert bool(torch.isfinite(logits).all())


def test_an_image_too_small_is_refused_with_the_reason(micro: ShuntedTransformer) -> None:
    with pytest.raises(CheckpointMismatch, match=r"stage 1 has a map of 7×16 tokens, too small to merge 8×8"):
        micro(torch.zeros(1, 3, 28, 64))
    with pytest.raises(CheckpointMismatch, match=r"stage 1 has a map of 0×0 tokens"):
        micro(torch.zeros(1, 3, 1, 2))


def test_the_head_is_that_of_the_number_of_classes() -> None:
    assert timm.create_model("shunted_tiny", num_classes=7).get_classifier().out_features == 7
    headless = timm.create_model("shunted_tiny", num_classes=0).eval()
    assert headless(torch.zeros(1, 3, 32, 32)).shape == (1, 512)


def test_timms_arguments_of_training_are_taken_and_what_cannot_be_is_refused() -> None:
    with torch.device("meta"):
        timm.create_model("shunted_tiny", drop_rate=0.1, drop_path_rate=0.1)
        for arguments in ({"in_chans": 1}, {"features_only": True}):
            with pytest.raises(CheckpointMismatch, match="neither in_chans nor features_only apply"):
                timm.create_model("shunted_tiny", **arguments)


def test_the_mean_of_the_map_is_what_the_head_sees(micro: ShuntedTransformer) -> None:
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        features = micro.forward_features(images)
        assert features.shape == (1, 32, 2, 2)
        assert torch.allclose(micro.head(features.mean((2, 3))), micro(images), atol=1e-6)


def test_every_attention_looks_beyond_its_neighbours(micro: ShuntedTransformer) -> None:
    """A pixel in one corner moves the features of the other one."""
    images = torch.zeros(1, 3, 128, 128)
    changed = images.clone()
    changed[..., 0, 0] = 9.0
    with torch.inference_mode():
        moved = (micro.forward_features(changed) - micro.forward_features(images)).abs()[0, :, -1, -1]
    assert float(moved.max()) > 1e-6


@pytest.mark.parametrize("sr_ratio", [1, 2, 4, 8])
def test_the_neck_keeps_the_shape_of_its_map(sr_ratio: int) -> None:
    neck = ShuntedNeck(cin=16, num_heads=4, depth=1, sr_ratios=sr_ratio).eval()
    with torch.inference_mode():
        assert neck(torch.randn(2, 16, 9, 13)).shape == (2, 16, 9, 13)


def test_a_neck_refuses_a_map_it_cannot_merge() -> None:
    with pytest.raises(CheckpointMismatch, match="too small to merge 8×8"):
        ShuntedNeck(cin=16, depth=1)(torch.zeros(1, 16, 7, 20))


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"sr_ratios": [3, 4, 2, 1]}, "sr_ratio must be 1 or even, not 3"),
        ({"num_heads": [3, 2, 2, 2]}, "64 channels cannot be split over 3 heads"),
        ({"embed_dims": [32, 64, 128, 256]}, "the stem gives 64 channels"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arch: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointMismatch, match=message):
        from_reference("shunted", arch, {})
