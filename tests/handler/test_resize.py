"""What is resized and cropped at once, against timm's own resize and crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from swin_handler.picture import Picture, Turn
from swin_handler.resize import Resize
from tests.handler import pictures
from tests.handler.test_decode import CONFIG

SIZES = [
    *((80, 60), (60, 80), (64, 64), (65, 64), (71, 71), (72, 71), (57, 71), (31, 33), (8, 60), (3, 2), (1, 1)),
    *((500, 375), (375, 500), (333, 500), (1001, 747), (7, 500), (640, 67)),
]
"""(width, height): portrait and landscape, odd, enlarged, as large as the crop, and thin."""
MODES = [(mode, crop_pct) for mode in ("center", "squash", "border") for crop_pct in (0.8, 0.9, 1.0)]
INPUTS = [(64, 64), (48, 80), (80, 47)]
OURS = ["bilinear", "bicubic"]


def config(**changes: Any) -> dict[str, Any]:
    return {**CONFIG, **changes}


def whole(image: Image.Image) -> Picture:
    return Picture(image, Turn(), image.size, image.size)


def timms(config: dict[str, Any], image: Image.Image) -> np.ndarray:
    pixels = create_transform(**config, normalize=False)(image)  # uint8 (3, H, W)
    return pixels.permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize("interpolation", OURS)
@pytest.mark.parametrize("input_size", INPUTS, ids=str)
@pytest.mark.parametrize(("mode", "crop_pct"), MODES)
def test_every_size_comes_out_as_timms(
    mode: str, crop_pct: float, input_size: tuple[int, int], interpolation: str
) -> None:
    """torch's weights have 16 bits, Pillow's 22: a rare value is rounded the other way, along either edge."""
    made = config(crop_mode=mode, crop_pct=crop_pct, input_size=(3, *input_size), interpolation=interpolation)
    resize, differing, values = Resize(made), 0, 0
    for size in SIZES:
        image = pictures.noise(*size)
        pixels, _region = resize(whole(image))
        off = np.abs(pixels.numpy().astype(int) - timms(made, image))
        assert off.max() <= 2, size
        differing, values = differing + np.count_nonzero(off), values + off.size
    assert differing / values < 0.015


@pytest.mark.parametrize("interpolation", [*OURS, "nearest", "lanczos", "box"])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_exact_is_timms_to_the_last_bit(mode: str, interpolation: str) -> None:
    made = config(crop_mode=mode, interpolation=interpolation)
    for size in SIZES:
        pixels, _region = Resize(made, exact=True)(whole(pictures.noise(*size)))
        assert np.array_equal(pixels, timms(made, pictures.noise(*size))), size


@pytest.mark.parametrize("interpolation", ["nearest", "lanczos", "box"])
def test_an_interpolation_that_torch_lacks_is_left_to_timm(interpolation: str) -> None:
    made = config(interpolation=interpolation)
    assert Resize(made).enough((1000, 700)) is None
    for size in SIZES:
        pixels, _region = Resize(made)(whole(pictures.noise(*size)))
        assert np.array_equal(pixels, timms(made, pictures.noise(*size))), size


def test_a_random_interpolation_is_left_to_timm() -> None:
    made = config(crop_mode="border", interpolation="random")
    pixels, _region = Resize(made)(whole(Image.new("RGB", (300, 200), "red")))
    assert np.array_equal(pixels, timms(made, Image.new("RGB", (300, 200), "red")))


@pytest.mark.parametrize(
    ("mode", "crop_pct", "size", "least"),
    [
        ("center", 0.9, (1600, 1200), (2 * 94, 2 * 71)),  # 64 / 0.9 = 71
        ("center", 0.9, (1200, 1600), (2 * 71, 2 * 94)),
        ("squash", 1.0, (1600, 1200), None),
        ("border", 0.9, (1600, 1600), (2 * 71, 2 * 71)),
        ("border", 0.9, (1600, 1200), None),  # 71×53 is padded
    ],
)
def test_a_picture_may_be_reduced_to_twice_its_size_after_the_resize(
    mode: str, crop_pct: float, size: tuple[int, int], least: tuple[int, int] | None
) -> None:
    made = config(crop_mode=mode, crop_pct=crop_pct)
    assert Resize(made).enough(size) == least
    assert Resize(made, exact=True).enough(size) is None
