"""One digit in every form that pictures come in: the real service names each of them right, over both protocols."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import swinserve
from tests.e2e.running import Running, service


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated(image: Image.Image) -> bytes:
    """Stored lying on its side, with the EXIF orientation 6 that says so: turned by 90° it is no digit it knows."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif.tobytes(), quality=95)


def alpha(image: Image.Image) -> Image.Image:
    """The strokes opaque, all around them transparent over black: dropped instead of composited it is all black."""
    grey = image.convert("L")
    return Image.merge("LA", (Image.new("L", image.size, 0), ImageOps.invert(grey)))


def grey16(image: Image.Image) -> Image.Image:
    """16 bits a pixel: clipped at 255 instead of scaled nearly all of it is white."""
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


@pytest.fixture(scope="module")
def forms(samples: dict[Path, str]) -> dict[str, bytes]:
    path = next(path for path in samples if path.name.startswith("seven-dark-on-light"))
    seven = Image.open(path).convert("RGB")
    blank = Image.new("RGB", seven.size, "white")
    return {
        "CMYK JPEG": encoded(seven.convert("CMYK"), "JPEG", quality=95),
        "grey JPEG": encoded(seven.convert("L"), "JPEG", quality=95),
        "progressive JPEG": encoded(seven, "JPEG", progressive=True, quality=95),
        "EXIF-rotated JPEG": rotated(seven),
        "palette PNG": encoded(seven.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "16-bit PNG": encoded(grey16(seven), "PNG"),
        "1-bit PNG": encoded(seven.convert("1", dither=Image.Dither.NONE), "PNG"),
        "grey PNG with alpha": encoded(alpha(seven), "PNG"),
        "colour PNG with alpha": encoded(alpha(seven).convert("RGBA"), "PNG"),
        "WebP with alpha": encoded(alpha(seven).convert("RGBA"), "WEBP", lossless=True),
        "animated PNG": encoded(seven, "PNG", save_all=True, append_images=[blank]),
        "animated WebP": encoded(seven, "WEBP", save_all=True, append_images=[blank], lossless=True),
    }


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_every_form_of_a_picture_is_decoded_properly(shared: Running, forms: dict[str, bytes], transport: str) -> None:
    with swinserve.Client(getattr(shared, transport)) as client:
        for form, content in forms.items():
            assert client.classify(content).results[0].predictions[0].label == "seven", form


@pytest.fixture(scope="module")
def every_type(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("--formats", "jpeg,png,webp,gif,bmp,tiff")
    with service(tmp_path_factory.mktemp("types"), "swin_digits", "--model-store", store, *options) as running:
        yield running


def test_types_by_choice_are_taken_when_chosen_and_refused_when_not(
    shared: Running, every_type: Running, samples: dict[Path, str]
) -> None:
    path = next(path for path in samples if path.name.startswith("seven-dark-on-light"))
    seven = Image.open(path).convert("RGB")
    blank = Image.new("RGB", seven.size, "white")
    pictures = [
        encoded(seven, "GIF", save_all=True, append_images=[blank]),
        encoded(seven, "BMP"),
        encoded(seven, "TIFF"),
    ]
    with swinserve.Client(every_type.grpc) as chosen, swinserve.Client(shared.grpc) as usual:
        for content in pictures:
            assert chosen.classify(content).results[0].predictions[0].label == "seven"
            with pytest.raises(swinserve.UnsupportedType, match="JPEG, PNG, WEBP"):
                usual.classify(content)
