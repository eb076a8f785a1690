"""What is said under a picture: the class and the scale of its map's colours."""

import math

from PIL import Image, ImageDraw, ImageFont

INK, PAPER = "white", (24, 24, 27)
SMALLEST_TYPE = 12
"""Pixels; no caption is set smaller."""
GAP = "   "


def scale(low: float, high: float) -> str:
    """What the darkest and the brightest colour stand for, two digits of their difference: "map -0.9 … 7.3"."""
    step = high - low or abs(high)
    # No logits are that small or large; written out they would be longer than any label.
    form = f"z.{max(0, 1 - math.floor(math.log10(step)))}f" if 1e-4 <= step < 1e6 else "z.3g"
    # z: a low end that rounds to nothing is 0.0, not -0.0. Pillow's own font has the hyphen and no other minus.
    return f"map {low:{form}} … {high:{form}}"


def captioned(picture: Image.Image, parts: tuple[str, ...]) -> Image.Image:
    """The parts under the picture: side by side if that fits, else a line each; what is long even then is set smaller,
    and the canvas made wider before it would be cut."""
    size = max(14, picture.width // 22)
    room = picture.width - size
    beside = GAP.join(parts)
    lines = [beside] if _width([beside], size) <= room else list(parts)
    size = max(SMALLEST_TYPE, min(size, int(size * room / _width(lines, size))))
    width, line = max(picture.width, math.ceil(_width(lines, size)) + size), 3 * size // 2
    canvas = Image.new("RGB", (width, picture.height + len(lines) * line + size // 2), PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    for i, text in enumerate(lines):
        middle = (width / 2, picture.height + size / 4 + (i + 0.5) * line)
        ImageDraw.Draw(canvas).text(middle, text, INK, ImageFont.load_default(size), anchor="mm")
    return canvas


def _width(lines: list[str], size: int) -> float:
    """Pixels of the longest."""
    pen, font = ImageDraw.Draw(Image.new("L", (1, 1))), ImageFont.load_default(size)
    return max(pen.textlength(line, font) for line in lines)
