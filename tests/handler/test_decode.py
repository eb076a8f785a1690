from __future__ import annotations

import contextlib
import io
import resource
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin
from timm.data import create_transform

from swin_handler.decode import Decoder, limit_pillow
from swin_handler.errors import ImageError, TooLarge, Undecodable, UnsupportedType
from tests.handler import pictures

CONFIG = {
    "input_size": (3, 64, 64),
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(CONFIG, max_pixels=50_000_000)


def rgb(decoder: Decoder, data: bytes) -> np.ndarray:
    image = decoder.picture(data).upright()
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (64, 64), (7, 500), (1, 1)])
def test_the_input_equals_timms_own_pipeline(size: tuple[int, int]) -> None:
    image = pictures.gradient(*size)
    pixels, _region = Decoder(CONFIG, max_pixels=10**7, scaled=False)(pictures.encoded(image, "PNG"))
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (64, 64, 3)
    assert pixels.is_contiguous()
    timms = create_transform(**CONFIG)(image)  # float32 (3, H, W), normalised
    mean, std = (torch.tensor(CONFIG[key]).view(3, 1, 1) for key in ("mean", "std"))
    ours = pixels.permute(2, 0, 1).float().div(255).sub(mean).div(std)
    assert torch.equal(ours, timms)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO"])
def test_each_type_decodes_to_its_picture(decoder: Decoder, kind: str) -> None:
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "MPO") else {}
    decoded = rgb(decoder, pictures.encoded(pictures.gradient(), kind, **options))
    assert np.abs(decoded - np.asarray(pictures.gradient()).astype(int)).mean() < 6


def test_cmyk_becomes_rgb(decoder: Decoder) -> None:
    decoded = rgb(decoder, pictures.encoded(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(decoded[10, 10] - [255, 0, 0]).max() < 8


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparency_is_put_on_white(decoder: Decoder, mode: str, kind: str) -> None:
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    decoded = rgb(decoder, pictures.encoded(image.convert(mode), kind))
    assert decoded[0, :3, 0].tolist() == [0, 127, 255]


def test_a_transparent_palette_colour_is_put_on_white(decoder: Decoder) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 10, 20])
    image.putpixel((1, 0), 1)
    decoded = rgb(decoder, pictures.encoded(image, "PNG", transparency=0))
    assert decoded[0].tolist() == [[255, 255, 255], [200, 10, 20]]


def test_palette_and_one_bit_images_keep_their_colours(decoder: Decoder) -> None:
    palette = pictures.gradient().quantize(16)
    assert np.array_equal(rgb(decoder, pictures.encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    bit = Image.new("1", (2, 1))
    bit.putpixel((1, 0), 1)
    assert rgb(decoder, pictures.encoded(bit, "PNG"))[0].tolist() == [[0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(decoder: Decoder, kind: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    decoded = rgb(decoder, pictures.encoded(Image.fromarray(values), kind))
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_transparent_sixteen_bit_grey_is_put_on_white(decoder: Decoder) -> None:
    values = np.array([[0, 300, 65535]], dtype=np.uint16)
    data = pictures.encoded(Image.fromarray(values), "PNG")
    chunk = b"tRNS" + struct.pack(">H", 300)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = data.index(b"IDAT") - 4
    assert rgb(decoder, data[:at] + chunk + data[at:])[0, :, 0].tolist() == [0, 255, 255]


def sixteen_bit_png(colour_type: int, pixel: tuple[int, ...]) -> bytes:
    """One pixel of 16 bits per channel: Pillow writes none but grey."""
    body = struct.pack(">IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0)
    data = zlib.compress(b"\0" + struct.pack(f">{len(pixel)}H", *pixel))
    chunks = ((b"IHDR", body), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


@pytest.mark.parametrize(
    ("colour_type", "pixel", "expected"),
    [
        (2, (65535, 32896, 0), [255, 128, 0]),
        (4, (32896, 65535), [128, 128, 128]),
        (4, (32896, 0), [255, 255, 255]),
        (6, (65535, 32896, 0, 65535), [255, 128, 0]),
    ],
    ids=["RGB", "opaque grey", "transparent grey", "RGBA"],
)
def test_sixteen_bit_colour_is_scaled(
    decoder: Decoder, colour_type: int, pixel: tuple[int, ...], expected: list[int]
) -> None:
    assert rgb(decoder, sixteen_bit_png(colour_type, pixel))[0, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(decoder: Decoder, kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = pictures.encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert rgb(decoder, data)[8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_turns_the_picture_upright(decoder: Decoder, orientation: int, kind: str) -> None:
    upright = pictures.gradient(48, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = pictures.encoded(upright, kind, exif=exif, **lossless.get(kind, {}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    decoded = decoder.picture(data).upright()
    assert decoded.size == ((48, 32) if orientation < 5 else (32, 48))
    assert np.abs(np.asarray(decoded).astype(int) - np.asarray(expected).astype(int)).max() == 0


@pytest.mark.filterwarnings("ignore:.*EXIF")
def test_broken_exif_does_not_cost_the_picture(decoder: Decoder) -> None:
    data = pictures.encoded(pictures.gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert rgb(decoder, data).shape == (60, 80, 3)


CORRUPT = {
    "empty": b"",
    "truncated JPEG": pictures.jpeg()[:-400],
    "JPEG header alone": b"\xff\xd8\xff\xe0",
    "truncated PNG": pictures.encoded(pictures.gradient(), "PNG")[:-300],
    "PNG with a lying header": pictures.png_header(1000, 1000, zlib.compress(bytes(110))),
    "PNG with a bad checksum": pictures.png_header(10, 10, zlib.compress(bytes(110))).replace(b"IDAT", b"IDAX"),
    "PNG of no size": pictures.png_header(0, 0, b""),
    "truncated WebP": pictures.encoded(pictures.gradient(), "WEBP")[:-100],
    "truncated GIF": pictures.encoded(pictures.gradient(), "GIF")[:-300],
    "truncated BMP": pictures.encoded(pictures.gradient(), "BMP")[:-100],
    "truncated TIFF": pictures.encoded(pictures.gradient(), "TIFF")[:-100],
    "truncated compressed TIFF": pictures.encoded(pictures.gradient(), "TIFF", compression="tiff_lzw")[:200],
    "TIFF header alone": b"II*\0",
    "BMP header alone": b"BM",
}


@pytest.mark.filterwarnings("ignore:.*EXIF")
@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT.keys())
def test_a_corrupt_image_is_undecodable_and_told_what_to_do(decoder: Decoder, data: bytes) -> None:
    with pytest.raises(Undecodable, match=r"send|sent"):
        decoder(data)


OTHER = {
    "text": b"hello, world\n",
    "PDF": b"%PDF-1.7\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "WAV": b"RIFF\0\0\0\0WAVEfmt ",
    "PPM": b"P6 1 1 255 abc",
    "32-bit TIFF": pictures.encoded(Image.new("F", (4, 4)), "TIFF"),
}


@pytest.mark.parametrize("data", OTHER.values(), ids=OTHER.keys())
def test_another_file_type_is_unsupported(decoder: Decoder, data: bytes) -> None:
    with pytest.raises(UnsupportedType, match=r"send|convert"):
        decoder(data)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage, and goes on
@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_give_a_picture_or_a_named_error(decoder: Decoder, seed: int) -> None:
    random = np.random.default_rng(seed)
    kind = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")[seed % 6]
    data = bytearray(pictures.encoded(pictures.gradient(), kind))
    for at in random.integers(4, len(data), 12):
        data[at] = random.integers(256)
    with contextlib.suppress(ImageError):
        assert decoder(bytes(data)).pixels.shape == (64, 64, 3)


def test_a_png_of_400_megapixels_is_refused_from_its_header(decoder: Decoder) -> None:
    data = pictures.one_colour_png(20_000)
    started, before = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge, match="50,000,000 pixels"):
        decoder(data)
    assert time.thread_time() - started < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_the_pixel_limit_is_exact() -> None:
    decoder = Decoder(CONFIG, max_pixels=80 * 80)
    assert decoder(pictures.jpeg(80, 80)).pixels.shape == (64, 64, 3)
    with pytest.raises(TooLarge, match="81×80"):
        decoder(pictures.jpeg(81, 80))


def test_a_thin_strip_is_refused_before_it_is_scaled_up(decoder: Decoder) -> None:
    """65,500×1 pixels are little, but scaled until the short edge is 71 they are 330 million."""
    with pytest.raises(TooLarge, match="resized"):
        decoder(pictures.jpeg(65_500, 1))


def test_pillow_itself_enforces_the_limit_in_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # put back afterwards
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", PngImagePlugin.MAX_TEXT_MEMORY)
    decoder = Decoder(CONFIG, max_pixels=10**9)  # its own check is out of the way
    with warnings.catch_warnings():
        limit_pillow(1000)
        with pytest.raises(TooLarge):
            decoder(pictures.jpeg(40, 40))
