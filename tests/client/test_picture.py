"""A class activation map drawn over an image: where its colours lie, and what is said under it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from swinserve import Region
from swinserve.commands.caption import captioned, scale
from swinserve.commands.picture import COLOURS, OPACITY, SMALLEST, Unreadable, draw, upright

WHOLE = Region(0, 0, 1, 1)
GREY = (120, 120, 120)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def drawn(
    image: Image.Image | bytes, hot: list[list[float]], region: Region, caption: str = "three 75.0%"
) -> np.ndarray:
    """Pixels (H, W, 3), the caption's strip included."""
    content = image if isinstance(image, bytes) else encoded(image)
    return np.asarray(Image.open(io.BytesIO(draw(content, np.array(hot, np.float32), region, caption)))).astype(int)


def yellowness(pixels: np.ndarray) -> np.ndarray:
    """High where the map is high: its end is yellow, its start violet."""
    return pixels[..., 1] - pixels[..., 2]


def brightest(pixels: np.ndarray, height: int) -> tuple[float, float]:
    """The place (x, y) of the map's highest point, in fractions of the image."""
    heat = yellowness(pixels[:height])
    y, x = np.nonzero(heat == heat.max())
    return (x.mean() + 0.5) / pixels.shape[1], (y.mean() + 0.5) / height


def spot(row: int, column: int, shape: tuple[int, int] = (7, 7)) -> list[list[float]]:
    values = np.zeros(shape)
    values[row, column] = 5
    return values.tolist()


def test_the_highest_cell_is_yellow_in_its_own_place_and_the_lowest_violet() -> None:
    pixels = drawn(Image.new("RGB", (700, 350), GREY), spot(2, 5), WHOLE)
    assert brightest(pixels, 350) == pytest.approx((5.5 / 7, 2.5 / 7), abs=0.02)
    red, green, blue = pixels[340, 10]
    assert green < red < blue


def test_a_map_of_the_middle_leaves_the_sides_dim_and_is_not_stretched_over_them() -> None:
    pixels = drawn(Image.new("RGB", (600, 400), GREY), spot(3, 5), Region(1 / 6, 0, 5 / 6, 1))
    assert brightest(pixels, 400) == pytest.approx((1 / 6 + 5.5 / 7 * 4 / 6, 3.5 / 7), abs=0.02)
    for x in (0, 99, 500, 599):
        assert pixels[200, x].tolist() == [42, 42, 42]
    assert pixels[200, 100].tolist() != [42, 42, 42] != pixels[200, 499].tolist()


def test_a_map_that_covers_padding_too_is_cut_where_the_image_ends() -> None:
    pixels = drawn(Image.new("RGB", (600, 400), GREY), spot(3, 3), Region(0, -1, 1, 1.5))
    assert brightest(pixels, 400) == pytest.approx((3.5 / 7, -1 + 3.5 / 7 * 2.5), abs=0.02)


def test_the_map_lies_on_the_image_as_people_see_it() -> None:
    """Orientation 6: the stored right edge is the upright bottom."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("RGB", (600, 400), GREY), "JPEG", exif=exif)
    pixels = drawn(content, spot(6, 1), WHOLE)
    assert pixels.shape[1] == 400
    assert brightest(pixels, 600) == pytest.approx((1.5 / 7, 6.5 / 7), abs=0.08)


@pytest.mark.parametrize("values", [[2.0, 2.0], [0.0, 0.0], [7.3, 7.3001], [-7.3001, -7.3]])
def test_a_map_without_contrast_is_one_colour_in_the_middle(values: list[float]) -> None:
    pixels = drawn(Image.new("RGB", (400, 400), GREY), [values] * 2, WHOLE)
    (colour,) = np.unique(pixels[:400].reshape(-1, 3), axis=0)
    middle = COLOURS[len(COLOURS) // 2 - 1 : len(COLOURS) // 2 + 1].mean(0)
    assert colour == pytest.approx(120 + OPACITY * (middle - 120), abs=2)


@pytest.mark.parametrize("values", [[7.3, 7.302], [-1e-6, 1e-6], [-3e38, 3e38]])
def test_a_map_with_contrast_goes_from_dark_to_bright_however_large_its_numbers(values: list[float]) -> None:
    pixels = drawn(Image.new("RGB", (400, 400), GREY), [values] * 2, WHOLE)
    ends = 120 + OPACITY * (COLOURS[[0, -1]] - 120)
    np.testing.assert_allclose(pixels[200, [0, 399]], ends, atol=8)


def test_a_small_image_is_enlarged_by_a_whole_number_with_its_pixels_kept() -> None:
    pixels = drawn(Image.fromarray(np.eye(28, dtype=np.uint8) * 255), [[0.0]], WHOLE)
    assert pixels.shape[1] == 28 * 12 >= SMALLEST
    image = pixels[: 28 * 12]
    assert (image == np.kron(image[::12, ::12], np.ones((12, 12, 1), int))).all()


@pytest.mark.parametrize("size", [(28, 28), (40, 900), (1200, 300)])
def test_a_long_caption_is_never_cut(size: tuple[int, int]) -> None:
    height = size[1] * -(-SMALLEST // max(size))
    strip = drawn(Image.new("RGB", size), [[0.0]], WHOLE, "sleeping bag, or what else it may be called " * 3)[height:]
    ink = (strip > 100).any(axis=(0, 2))
    assert ink.any()
    assert not ink[:4].any()
    assert not ink[-4:].any()


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.912, 7.31, "map -0.9 … 7.3"),
        (-0.01, 2.0, "map 0.0 … 2.0"),
        (100.0, 100.4, "map 100.00 … 100.40"),
        (-12.0, 40.0, "map -12 … 40"),
        (0.0, 0.0, "map 0 … 0"),
        (7.3, 7.3, "map 7.3 … 7.3"),
        (-400.0, 1800.0, "map -400 … 1800"),
        (-3e38, 3e-38, "map -3e+38 … 3e-38"),
    ],
)
def test_the_scale_says_what_dark_and_bright_stand_for(low: float, high: float, text: str) -> None:
    assert scale(low, high) == text


def test_pillows_own_font_can_write_the_scale() -> None:
    font = ImageFont.load_default(20)
    box = bytes(font.getmask("\ue123"))
    assert all(bytes(font.getmask(letter)) != box for letter in scale(-3e38, 7.3) + "0123456789")


def lines(caption: np.ndarray) -> int:
    """Of text; the inside of letters is taller than the ruling between the lines is."""
    rows = (caption > 100).any(axis=(1, 2)).astype(int)
    return int((np.diff(rows, prepend=0) == 1).sum())


def test_a_label_that_leaves_no_room_for_the_scale_gets_a_line_of_its_own() -> None:
    photo = Image.new("RGB", (320, 320))
    for label, count in (("seven", 1), ("grand piano and what else stands there", 2)):
        canvas = captioned(photo, (label, "map 10 … 20"))
        assert canvas.width == 320
        assert lines(np.asarray(canvas)[320:]) == count


def test_the_scale_is_in_the_picture() -> None:
    photo = Image.new("RGB", (400, 400), GREY)
    one, other = (drawn(photo, [[0.0, high]], WHOLE) for high in (7.3, 2.1))
    assert (one[:400] == other[:400]).all()
    assert (one[400:] != other[400:]).any()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (4, 4), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 0x8000, np.uint16)), (128, 128, 128)),
        (Image.new("L", (4, 4), 7), (7, 7, 7)),
        (Image.new("P", (4, 4)), (0, 0, 0)),
    ],
    ids=["transparent", "16 bits", "grey", "palette"],
)
def test_every_kind_of_pixel_becomes_opaque_rgb(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert upright(encoded(image)).getpixel((0, 0)) == expected


def test_no_image_and_no_number_are_said_to_be_undrawable() -> None:
    good = encoded(Image.new("RGB", (8, 8)))
    for content in (b"", b"not an image", encoded(Image.effect_noise((64, 64), 50))[:-2000]):
        with pytest.raises(Unreadable, match="cannot read the image"):
            drawn(content, [[0.0]], WHOLE)
    with pytest.raises(Unreadable, match="no numbers"):
        drawn(good, [[0.0, float("nan")]], WHOLE)


@pytest.mark.parametrize(
    "region", [Region(0.9999, 0.9999, 7, 7), Region(-9, -9, 0.0001, 0.0001), Region(-1e9, 0, 1e9, 1)]
)
def test_a_region_that_hardly_meets_the_image_is_drawn_without_effort(region: Region) -> None:
    assert drawn(Image.new("RGB", (400, 300)), spot(0, 0), region).shape[1] == 400
