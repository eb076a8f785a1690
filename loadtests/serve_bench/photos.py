"""Photos that libraries bring along -> JPEGs of the two sizes that the benchmark mixes.

Large ones are joined from photos at their own pixel density: a small one scaled up would decode faster than a real one.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

SMALL, LARGE = (500, 375), (1600, 1200)
"""(width, height): ImageNet's usual size, and a picture as phones send it."""
QUALITY = 90


def photos() -> list[bytes]:
    """Three of each size, taking turns."""
    sources = _sources()
    small = [_jpeg(_cut(source, SMALL)) for source in sources]
    large = [_jpeg(_joined(sources[turn:] + sources[:turn], LARGE)) for turn in range(len(sources))]
    return [each for pair in zip(small, large, strict=True) for each in pair]


def _sources() -> list[Image.Image]:
    """Two landscapes and a portrait."""
    import matplotlib as mpl
    from sklearn.datasets import load_sample_images

    portrait = Image.open(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    return [*map(Image.fromarray, load_sample_images().images), portrait]


def _cut(source: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Its upper left corner: not scaled either, as far as it reaches."""
    width, height = size
    scale = max(1.0, width / source.width, height / source.height)
    enough = source.resize((round(source.width * scale), round(source.height * scale))) if scale > 1 else source
    return enough.crop((0, 0, width, height))


def _joined(sources: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    """Tiles, row by row, each row beginning with the next source."""
    page, top, row = Image.new("RGB", size), 0, 0
    while top < size[1]:
        left, turn, height = 0, row, 0
        while left < size[0]:
            tile = sources[turn % len(sources)]
            page.paste(tile, (left, top))
            left, turn, height = left + tile.width, turn + 1, max(height, tile.height)
        top, row = top + min(each.height for each in sources), row + 1
    return page


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
