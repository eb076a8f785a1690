from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest
from PIL import Image, ImageFile

from swin_gateway.errors import InvalidRequest, ServingError, TooLarge, Undecodable, UnsupportedType
from swin_gateway.images import HeaderCheck

from .samples import encoded, png_claiming

CHECK = HeaderCheck(max_bytes=10_000, max_pixels=1_000_000, formats=("JPEG", "PNG", "WEBP"))


@pytest.fixture(autouse=True)
def _nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Any) -> None:
        raise AssertionError("the gateway must not decode")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_good_image_passes(image_format: str) -> None:
    CHECK({"PNG": PNG, "JPEG": JPEG, "WEBP": WEBP}[image_format])


PNG, JPEG, WEBP, GIF, BMP = (encoded(each) for each in ("PNG", "JPEG", "WEBP", "GIF", "BMP"))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param(b"", InvalidRequest, id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\0" * 10_000, TooLarge, id="too many bytes"),
        pytest.param(b"just some text, and more of it", UnsupportedType, id="text"),
        pytest.param(b"\0" * 500, UnsupportedType, id="zeros"),
        pytest.param(GIF, UnsupportedType, id="GIF, not taken by default"),
        pytest.param(BMP, UnsupportedType, id="BMP, not taken by default"),
        pytest.param(PNG[:12], Undecodable, id="PNG cut in its header"),
        pytest.param(PNG[:20], Undecodable, id="PNG cut in its size"),
        pytest.param(JPEG[:6], Undecodable, id="JPEG cut in its header"),
        pytest.param(WEBP[:14], Undecodable, id="WebP cut in its header"),
        pytest.param(PNG[:18] + b"\xff" + PNG[19:], Undecodable, id="PNG whose header has a wrong checksum"),
        pytest.param(png_claiming(1001, 1000), TooLarge, id="a few pixels too many"),
        pytest.param(png_claiming(20_000, 20_000), TooLarge, id="20,000×20,000"),
        pytest.param(png_claiming(2**31 - 1, 2**31 - 1), TooLarge, id="the largest a PNG can claim"),
        # BUG images.py:57: any RIFF file passes for a broken WebP.
        pytest.param(b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 100, UnsupportedType, id="a WAV file"),
    ],
)
def test_a_bad_image_gets_its_own_error(content: bytes, error: type[ServingError]) -> None:
    with pytest.raises(ServingError) as refusal:
        CHECK(content)
    assert type(refusal.value) is error


def test_an_image_of_exactly_the_limits_passes() -> None:
    HeaderCheck(max_bytes=len(PNG), max_pixels=64, formats=("PNG",))(PNG)


def test_a_type_is_taken_when_it_is_allowed() -> None:
    HeaderCheck(max_bytes=10_000, max_pixels=64, formats=("GIF", "BMP"))(GIF)


def test_a_png_of_400_million_pixels_is_refused_at_once_and_in_little_memory() -> None:
    CHECK(PNG)  # Pillow loads its plugins at the first image
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(TooLarge, match="send it scaled down"):
            CHECK(png_claiming(20_000, 20_000))
        seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < 0.1
    assert peak < 2_000_000  # bytes; decoded it would have 1,200,000,000


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_is_the_settings_not_pillows() -> None:
    bomb = png_claiming(10_000, 10_000)  # Pillow warns of it
    with pytest.raises(TooLarge, match="10000×10000"):
        CHECK(bomb)
    HeaderCheck(max_bytes=10_000, max_pixels=200_000_000, formats=("PNG",))(bomb)


def test_a_header_that_lies_within_the_limits_is_left_to_the_worker() -> None:
    CHECK(png_claiming(1000, 1000))


def test_whatever_a_plugin_raises_is_an_undecodable_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("cannot seek")

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(Undecodable, match="cannot seek"):
        CHECK(PNG)
