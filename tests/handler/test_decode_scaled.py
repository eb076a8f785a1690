"""JPEGs that libjpeg decodes at a fraction of their size, against the same files decoded whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image

from swin_handler.decode import Decoder
from swin_handler.errors import TooLarge, Undecodable
from tests.handler import pictures
from tests.handler.test_decode import CONFIG
from tests.handler.test_resize import timms

PHOTOS = sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"))
UPRIGHT = range(1, 9)
"""EXIF orientations"""
WIDTH, HEIGHT = 1801, 1209
"""One more pixel than a multiple of eight: the last of a reduction at 1/8 is seven eighths empty."""


def decoders(edge: int = 64, max_pixels: int = 10**8, **changes: Any) -> tuple[Decoder, Decoder]:
    """One that reduces and one that does not."""
    config = {**CONFIG, "input_size": (3, edge, edge), **changes}
    return (
        Decoder(config, max_pixels=max_pixels, scaled=True),
        Decoder(config, max_pixels=max_pixels, scaled=False),
    )


def waves(width: int = WIDTH, height: int = HEIGHT, *, period: float = 0.1) -> Image.Image:
    """Red waves to the right, green ones downward, their period a part of the height: a shift of a pixel shows."""
    x, y = (np.sin(np.arange(edge) / height * 2 * np.pi / period) * 110 + 127.5 for edge in (width, height))
    red, green = np.broadcast_arrays(x[None, :], y[:, None])
    return Image.fromarray(np.stack([red, green, np.full_like(red, 128)], axis=-1).round().astype(np.uint8))


def jpeg(image: Image.Image, orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pictures.encoded(image, "JPEG", **{"quality": 90, "exif": exif, **options})


def off(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first.float() - second.float()).abs()


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / off(first, second).square().mean()))


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("edge", "factor"), [(64, 2), (32, 4), (16, 8)])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}], ids=str)
def test_a_photo_looks_as_if_it_had_been_decoded_whole(
    photo: Path, edge: int, factor: int, options: dict[str, Any]
) -> None:
    image = Image.open(io.BytesIO(photo.read_bytes()))
    data = pictures.encoded(image, "JPEG", quality=90, **options)
    scaled, full = decoders(edge)
    width, height = image.size
    read = scaled.picture(data)
    assert (read.image.size, read.size) == ((-(-width // factor), -(-height // factor)), (width, height))
    ours, theirs = scaled(data), full(data)
    assert ours.region == theirs.region
    assert psnr(ours.pixels, theirs.pixels) > 46
    assert float(off(ours.pixels, theirs.pixels).max()) <= 10


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("mode", "crop_pct"), [("center", 0.9), ("center", 1.0)])
@pytest.mark.parametrize("edge", [16, 32, 64])
def test_nothing_shifts_whichever_way_it_is_turned(orientation: int, mode: str, crop_pct: float, edge: int) -> None:
    data = jpeg(waves(period=0.4), orientation, quality=98, subsampling=0)
    scaled, full = decoders(edge, crop_mode=mode, crop_pct=crop_pct)
    ours, theirs = scaled(data), full(data)
    assert scaled.picture(data).image.size != full.picture(data).image.size
    assert ours.region == theirs.region
    assert float(off(ours.pixels, theirs.pixels).max()) <= 3


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("size", [(1801, 1209), (1208, 1793), (999, 2001), (1600, 1200)], ids=str)
def test_the_size_is_that_of_the_upright_file(orientation: int, size: tuple[int, int]) -> None:
    read = decoders(64)[0].picture(jpeg(pictures.gradient(*size), orientation))
    assert read.size == (size if orientation < 5 else size[::-1])
    for whole, extent, edge in zip(size, read.extent, read.image.size, strict=True):
        assert whole / extent in (2, 4, 8)
        assert extent <= edge < extent + 1


def test_an_image_is_reduced_from_twice_the_size_it_is_needed_in() -> None:
    scaled, _ = decoders(64)  # 71 pixels after the resize: 142 are needed
    sizes = {edge: scaled.picture(jpeg(pictures.gradient(edge, edge))).image.width for edge in (283, 284, 567, 568)}
    assert sizes == {283: 283, 284: 142, 567: 284, 568: 142}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_other_types_are_decoded_whole(kind: str) -> None:
    assert decoders(16)[0].picture(pictures.encoded(pictures.gradient(900, 600), kind)).image.size == (900, 600)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_are_reduced_and_keep_their_colours(mode: str) -> None:
    data = jpeg(waves().convert(mode), quality=95)
    scaled, full = decoders(64)
    assert scaled.picture(data).image.size == (226, 152)
    assert scaled.picture(data).image.mode == "RGB"
    assert psnr(scaled(data).pixels, full(data).pixels) > 46


def test_the_first_picture_of_an_mpo_is_reduced() -> None:
    data = pictures.encoded(waves(), "MPO", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    scaled, full = decoders(64)
    assert scaled.picture(data).image.size == (226, 152)
    assert psnr(scaled(data).pixels, full(data).pixels) > 46


def test_whole_on_request_is_timms_to_the_last_bit() -> None:
    data = jpeg(waves(period=0.02))
    scaled, full = decoders(64)
    decoded = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(full(data).pixels.numpy(), timms(CONFIG, decoded))
    assert not torch.equal(scaled(data).pixels, full(data).pixels)


def test_the_pixel_limit_is_of_the_file_not_of_the_reduction() -> None:
    exact, below = (Decoder(CONFIG, max_pixels=1600 * 1200 - less) for less in (0, 1))
    data = jpeg(pictures.gradient(1600, 1200))
    assert exact.picture(data).image.size == (200, 150)
    with pytest.raises(TooLarge, match="1600×1200"):
        below(data)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_file_is_told_from_a_reduced_one(progressive: bool) -> None:
    data = jpeg(pictures.noise(1600, 1200), progressive=progressive)
    scaled, _ = decoders(64)
    scaled(data)
    with pytest.raises(Undecodable, match="truncated"):
        scaled(data[: len(data) // 2])


def test_a_padded_crop_is_decoded_whole() -> None:
    scaled, full = decoders(64, crop_mode="border", crop_pct=1.0)
    data = jpeg(waves())
    assert scaled.picture(data).image.size == (WIDTH, HEIGHT)
    assert torch.equal(scaled(data).pixels, full(data).pixels)
    assert scaled(data).region == full(data).region
