"""Images made to cost more than they should, or to be something else: refused, or the same as any."""

from __future__ import annotations

import struct
import traceback
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from swin_handler import picture
from swin_handler.config import FORMATS
from swin_handler.decode import Decoder, limit_pillow
from swin_handler.errors import ImageError, TooLarge, Undecodable, UnsupportedType
from swin_handler.limits import Limits
from swin_handler.memory import MemoryBudget
from tests.fuzz import seeds
from tests.handler import pictures
from tests.handler.test_decode import CONFIG, rgb


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(CONFIG, max_pixels=50_000_000)


FRAMES = [Image.new("RGB", (16, 16), (shade, 0, 255 - shade)) for shade in range(0, 240, 40)]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_an_image_that_announces_too_many_frames_is_refused(kind: str) -> None:
    data = pictures.encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])
    count = len(FRAMES)
    assert Decoder(CONFIG, max_pixels=10**6, limits=Limits(max_frames=count))(data).pixels.shape == (64, 64, 3)
    with pytest.raises(TooLarge, match=f"more than {count - 1}.*; send one of them"):
        Decoder(CONFIG, max_pixels=10**6, limits=Limits(max_frames=count - 1))(data)


def test_a_png_may_announce_any_number_of_frames_at_no_cost() -> None:
    body = struct.pack(">II", 2**31 - 1, 0)
    chunk = struct.pack(">I", 8) + b"acTL" + body + struct.pack(">I", zlib.crc32(b"acTL" + body))
    data = pictures.encoded(pictures.gradient(), "PNG")
    with pytest.raises(TooLarge, match="2147483648 frames"):  # and the picture itself
        Decoder(CONFIG, max_pixels=10**6, limits=Limits(max_frames=1000))(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("kind", FORMATS)
def test_only_the_types_chosen_are_taken(kind: str) -> None:
    data = pictures.encoded(pictures.gradient(), kind)
    assert Decoder(CONFIG, max_pixels=10**6, limits=Limits(formats=(kind,)))(data).pixels.shape == (64, 64, 3)
    others = [name for name in FORMATS if name != kind]
    with pytest.raises(UnsupportedType, match=", ".join(others)):
        Decoder(CONFIG, max_pixels=10**6, limits=Limits(formats=others))(data)


@pytest.mark.parametrize("hidden", ["PNG", "GIF", "TIFF"])
@pytest.mark.parametrize("shown", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM"])
def test_pillow_is_asked_for_the_type_of_the_first_bytes_alone(decoder: Decoder, shown: bytes, hidden: str) -> None:
    """What one program takes for a picture and another for something else: only the first bytes count."""
    with pytest.raises(ImageError):
        decoder(shown + pictures.encoded(pictures.gradient(), hidden))


@pytest.mark.parametrize("compression", ["lzma", "zstd"])
def test_a_tiff_in_a_rare_compression_is_refused(decoder: Decoder, compression: str) -> None:
    with pytest.raises(UnsupportedType, match=f"compressed by {compression} are not taken"):
        decoder(pictures.encoded(pictures.gradient(), "TIFF", compression=compression))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_a_picture_made_opaque_in_bands_is_the_same(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    image = pictures.noise(50, 41)
    if mode == "I;16":
        grey = np.random.default_rng(1).integers(0, 2**16, (41, 50), dtype=np.uint16)
        data = pictures.encoded(Image.fromarray(grey), "PNG")
    elif mode == "P":
        data = pictures.encoded(image.quantize(9), "PNG", transparency=bytes(range(0, 250, 28)))
    else:
        image.putalpha(pictures.gradient(50, 41).convert("L"))
        data = pictures.encoded(image.convert(mode), "PNG")
    whole = rgb(decoder, data)
    monkeypatch.setattr(picture, "_BAND_PIXELS", 50 * 7)
    assert np.array_equal(rgb(decoder, data), whole)
    monkeypatch.setattr(picture, "_BAND_PIXELS", 1)
    assert np.array_equal(rgb(decoder, data), whole)


def test_text_in_a_png_that_is_a_bomb_costs_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte becomes a megabyte, and Pillow allows 64 of them."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 2**26)
    text = PngImagePlugin.PngInfo()
    for number in range(20):
        text.add_itxt(f"key {number}", "\N{GRINNING FACE}" * 2**18, zip=True)
    data = pictures.encoded(pictures.gradient(), "PNG", pnginfo=text)
    decoder = Decoder(CONFIG, max_pixels=10**6)
    assert decoder(data).pixels.shape == (64, 64, 3)
    with warnings.catch_warnings():
        limit_pillow(10**6)
        with pytest.raises(Undecodable):
            decoder(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_of_more_than_a_megabyte_is_refused(decoder: Decoder, kind: str) -> None:
    """A tag of a million numbers becomes a million objects."""
    rational = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 5, 2**18, 26, 0)
    exif = b"Exif\0\0" + rational + bytes(2**21)
    data = pictures.encoded(pictures.gradient(), kind)
    if kind == "JPEG":
        pieces = [exif[:60_000], *(b"Exif\0\0" + exif[at : at + 60_000] for at in range(60_000, len(exif), 60_000))]
        segments = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(piece)) + piece for piece in pieces)
        data = data[:2] + segments + data[2:]
    else:
        data = pictures.encoded(pictures.gradient(), kind, exif=exif)
    with pytest.raises(TooLarge, match="EXIF; leave it out"):
        decoder(data)


def test_an_image_s_error_does_not_keep_the_image(decoder: Decoder) -> None:
    """Eight bombs cut off before their end would keep what was decoded of them, beside the budget of memory."""
    with pytest.raises(Undecodable) as refusal:
        decoder(pictures.encoded(pictures.noise(), "PNG")[:5000])
    error = refusal.value
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
    held = [value for frame in frames for value in frame.f_locals.values()]
    assert held
    assert not any(isinstance(value, Image.Image | picture.Picture) for value in held)


def test_tiles_far_larger_than_the_image_count_as_its_pixels(decoder: Decoder) -> None:
    """783 kB of ten by ten pixels took 768 MiB, and ten seconds that nothing could interrupt."""
    data = seeds.tiled_tiff(10, 2048)
    limits = Limits(memory=MemoryBudget(16 * 2048 * 2048 + 8 * 71 * 71))
    assert Decoder(CONFIG, max_pixels=2048 * 2048, limits=limits)(data).pixels.shape == (64, 64, 3)
    with pytest.raises(TooLarge, match="tiles of the image are 2048×2048 together"):
        Decoder(CONFIG, max_pixels=2048 * 2048 - 1)(data)
    with pytest.raises(TooLarge, match="MiB to decode"):
        Decoder(CONFIG, max_pixels=2048 * 2048, limits=Limits(memory=MemoryBudget(limits.memory.total - 1)))(data)


def test_a_tiff_in_one_strip_of_four_billion_rows_has_those_of_the_image(decoder: Decoder) -> None:
    tiff = pictures.encoded(pictures.gradient(), "TIFF", compression="tiff_lzw")
    data = seeds.in_directory(tiff, 278, lambda entry: entry[:2] + struct.pack("<HII", 4, 1, 2**32 - 1))
    assert np.array_equal(rgb(decoder, data), rgb(decoder, tiff))
