"""What the decoder says its crop covers, read off drawings that went through it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from swin_handler.decode import Decoder
from swin_handler.region import Region
from tests.handler import pictures
from tests.handler.test_decode import CONFIG

MODES = [(mode, crop_pct) for mode in ("center", "squash", "border") for crop_pct in (0.8, 1.0)]
INPUTS = [(64, 64), (48, 80), (80, 48)]
SIZES = [(160, 120), (120, 160), (100, 100), (300, 90), (41, 87), (33, 97)]


def decoder(mode: str, crop_pct: float, input_size: tuple[int, int]) -> Decoder:
    config = {**CONFIG, "crop_mode": mode, "crop_pct": crop_pct, "input_size": (3, *input_size)}
    return Decoder(config, max_pixels=10**7)


def ruler(width: int, height: int) -> Image.Image:
    """Red says how far right a pixel is, green how far down (0..255), blue is on everywhere."""
    x, y = ((np.arange(edge) + 0.5) / edge * 255 for edge in (width, height))
    red, green = np.broadcast_arrays(x[None, :], y[:, None])
    return Image.fromarray(np.stack([red, green, np.full_like(red, 255)], axis=-1).round().astype(np.uint8))


def read_off(line: np.ndarray) -> tuple[float, float]:
    """Values of a ramp at pixel centres -> its values (0..1) at both ends of the line, extended beyond it."""
    at = np.arange(len(line)) + 0.5
    inside = (line > 10) & (line < 245)  # the ends of a ramp are bent by resampling, and padding is not of it
    slope, start = np.polyfit(at[inside], line[inside] / 255, 1)
    return float(start), float(start + slope * len(line))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("input_size", INPUTS, ids=str)
@pytest.mark.parametrize(("mode", "crop_pct"), MODES)
def test_the_region_is_what_the_input_shows(
    mode: str, crop_pct: float, input_size: tuple[int, int], size: tuple[int, int]
) -> None:
    pixels, region = decoder(mode, crop_pct, input_size)(pictures.encoded(ruler(*size), "PNG"))
    height, width = input_size
    image = pixels.numpy().astype(float)
    image[image[..., 2] < 250] = 0  # padding has the mean's colour
    left, right = read_off(image[height // 2, :, 0])
    top, bottom = read_off(image[:, width // 2, 1])
    assert region == pytest.approx((left, top, right, bottom), abs=0.012)  # half of one pixel of the smallest input


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("input_size", INPUTS, ids=str)
def test_what_lies_in_the_region_fills_the_input_and_nothing_else_does(
    input_size: tuple[int, int], size: tuple[int, int]
) -> None:
    """A white rectangle over the region of a black image; a wrong corner would leave a black edge or show no black."""
    decode = decoder("center", 0.8, input_size)
    width, height = size
    region = decode(pictures.encoded(ruler(*size), "PNG")).region
    corners = [round(edge * side) for edge, side in zip(region, (width, height, width, height), strict=True)]
    inside, smaller = Image.new("RGB", size), Image.new("RGB", size)
    inside.paste("white", tuple(corners))
    smaller.paste("white", (corners[0] + 3, corners[1] + 3, corners[2] - 3, corners[3] - 3))
    filled, framed = (decode(pictures.encoded(image, "PNG")).pixels.numpy() for image in (inside, smaller))
    assert filled[1:-1, 1:-1].min() > 120
    assert max(framed[0].max(), framed[-1].max(), framed[:, 0].max(), framed[:, -1].max()) < 120


def test_a_square_image_without_a_crop_is_covered_whole() -> None:
    assert decoder("center", 1.0, (64, 64))(pictures.jpeg(90, 90)).region == Region(0, 0, 1, 1)


def test_a_bordered_image_leaves_the_region_partly_outside() -> None:
    region = decoder("border", 1.0, (64, 64))(pictures.jpeg(200, 100)).region
    assert region == Region(0, -0.5, 1, 1.5)


@pytest.mark.parametrize("orientation", [6, 8])
def test_the_region_is_of_the_upright_image(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = pictures.encoded(pictures.gradient(100, 200), "PNG", exif=exif)  # upright it is 200 wide, 100 high
    assert decoder("center", 1.0, (64, 64))(lying).region == Region(0.25, 0, 0.75, 1)
