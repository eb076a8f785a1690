from __future__ import annotations

import contextlib
import io
import time
import tracemalloc
from random import Random
from typing import Any

import pytest
from PIL import Image, ImageFile

from swin_gateway.errors import InvalidRequest, ServingError, TooLarge, Undecodable, UnsupportedType
from swin_gateway.image_header import MAGIC, image_size, image_type
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
        pytest.param(PNG[:12] + b"IDAT" + PNG[16:], Undecodable, id="PNG without a header"),
        pytest.param(b"\xff\xd8\xff\xfe\0\4okno marker", Undecodable, id="JPEG without markers"),
        pytest.param(WEBP[:12] + b"VP9 " + WEBP[16:], Undecodable, id="WebP of an unknown kind"),
        pytest.param(png_claiming(1001, 1000), TooLarge, id="a few pixels too many"),
        pytest.param(png_claiming(20_000, 20_000), TooLarge, id="20,000×20,000"),
        pytest.param(png_claiming(2**31 - 1, 2**31 - 1), TooLarge, id="the largest a PNG can claim"),
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


def test_a_header_that_lies_within_the_limits_is_left_to_the_worker() -> None:
    CHECK(png_claiming(1000, 1000))


EVERY_TYPE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (641, 479)], ids=str)
@pytest.mark.parametrize("image_format", EVERY_TYPE)
def test_the_header_says_what_pillow_says(image_format: str, size: tuple[int, int]) -> None:
    for options in ({}, {"lossless": True}, {"exif": Image.Exif().tobytes()}, {"progressive": True}):
        buffer = io.BytesIO()
        Image.new("RGB", size, "teal").save(buffer, image_format, **options)
        content = buffer.getvalue()
        assert image_type(content) == image_format
        assert image_size(content, image_format) == size


@pytest.mark.parametrize("image_format", EVERY_TYPE)
def test_a_header_cut_anywhere_is_undecodable_or_complete(image_format: str) -> None:
    content = encoded(image_format)
    for end in range(12, len(content)):
        try:
            assert image_size(content[:end], image_format) == (8, 8)
        except ValueError as error:
            assert str(error)  # anything else would be a bug's traceback


def test_random_bytes_behind_a_magic_number_never_get_past_value_error() -> None:
    random = Random(0)
    for magic, kind in (*MAGIC, (b"RIFF\0\0\0\0WEBP", "WEBP")):
        for _ in range(300):
            with contextlib.suppress(ValueError):
                image_size(magic + random.randbytes(random.randrange(200)), kind)


@pytest.mark.parametrize("stray", [b"\0", b"\0" * 8, b"\xff\0", b"\xff" * 5], ids=repr)
def test_bytes_between_a_jpegs_segments_are_skipped_as_libjpeg_does(stray: bytes) -> None:
    end = 4 + int.from_bytes(JPEG[4:6], "big")  # of the first segment, whose length counts itself
    assert image_size(JPEG[:end] + stray + JPEG[end:], "JPEG") == (8, 8)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PNG[:33] + b"\0\0\0\0teXt\0\0\0\0" * 800_000, id="PNG of empty chunks"),
        pytest.param(b"\xff\xd8" + b"\xff\xfe\0\2" * 2_400_000, id="JPEG of empty comments"),
        pytest.param(b"\xff\xd8" + b"\xff" * 10_000_000, id="JPEG of fill bytes"),
    ],
)
def test_ten_megabytes_of_empty_segments_are_given_up_at_the_thousandth(content: bytes) -> None:
    """Milliseconds; Pillow took 1.8 s."""
    with pytest.raises(Undecodable, match="1000"):
        HeaderCheck(max_bytes=2**24, max_pixels=10**6, formats=EVERY_TYPE)(content)
