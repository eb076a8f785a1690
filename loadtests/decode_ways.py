"""Ways from a JPEG's bytes to the model's input, uint8 (H, W, 3): ours, as it was, and with other libraries."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.functional import center_crop

from swin_handler import picture, region
from swin_handler.decode import Decoder
from swin_handler.picture import Picture
from swin_handler.resize import Resize

Way = Callable[[bytes], Tensor]

BASE = "whole, timm's resize"
OURS = "ours: reduced, torch's resize"
WHOLE = "whole, torch's resize"
MAX_PIXELS = 10**8
BICUBIC = Image.Resampling.BICUBIC


def ways(config: Mapping[str, Any]) -> dict[str, Way]:
    """config: timm's data_config; the crop must be in the middle."""
    resize, size = Resize(config), tuple(config["input_size"][-2:])
    timms, ours = (Decoder(config, max_pixels=MAX_PIXELS, scaled=scaled) for scaled in (False, True))

    def boxed(data: bytes) -> Tensor:
        return by_pillow(read(data), resize, size)

    def boxed_reduced(data: bytes) -> Tensor:
        return by_pillow(ours.picture(data), resize, size)

    def torchvisions(data: bytes) -> Tensor:
        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        return by_torch(pixels, (pixels.shape[2], pixels.shape[1]), resize, size)

    found = {
        BASE: lambda data: timms(data).pixels,
        "whole, Pillow's resize of what the crop keeps": boxed,
        "reduced, Pillow's resize of what the crop keeps": boxed_reduced,
        WHOLE: lambda data: resize(read(data))[0],
        OURS: lambda data: ours(data).pixels,
        "torchvision, torch's resize": torchvisions,
    }
    return {**found, **simplejpegs(resize, size)}


def simplejpegs(resize: Resize, size: tuple[int, ...]) -> dict[str, Way]:
    """None where simplejpeg is not installed, which is said: it is no dependency of the project."""
    try:
        simplejpeg: Any = importlib.import_module("simplejpeg")
    except ModuleNotFoundError:
        print("simplejpeg is not installed: left out (pip install simplejpeg)")
        return {}

    def reduced(data: bytes) -> Tensor:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        wide, high = resize.enough((width, height)) or (0, 0)
        pixels = simplejpeg.decode_jpeg(data, min_height=high, min_width=wide)
        return by_torch(torch.from_numpy(pixels).permute(2, 0, 1), (width, height), resize, size)

    return {"simplejpeg, torch's resize": reduced}


def by_torch(pixels: Tensor, full: tuple[int, int], resize: Resize, size: tuple[int, ...]) -> Tensor:
    """(3, H, W) with the channels last in memory, a reduction of an image of the size `full`, -> (H, W, 3)"""
    width, height = resize.resized(full)
    resized = interpolate(pixels[None], size=(height, width), mode="bicubic", antialias=True)
    return center_crop(resized[0], list(size)).permute(1, 2, 0).contiguous()


def by_pillow(picture: Picture, resize: Resize, size: tuple[int, ...]) -> Tensor:
    """Columns first, as of a whole image; of an upright picture."""
    covered = region.of_centre_crop(resize.resized(picture.size), (size[1], size[0]))
    wide, high = picture.extent
    image = picture.image
    across = image.resize(
        (size[1], image.height), BICUBIC, box=(covered.left * wide, 0, covered.right * wide, image.height)
    )
    cut = across.resize((size[1], size[0]), BICUBIC, box=(0, covered.top * high, size[1], covered.bottom * high))
    return torch.from_numpy(np.array(cut))


def read(data: bytes, factor: int = 1) -> Picture:
    """Decoded whole, or reduced by a factor that libjpeg has."""
    return picture.read(
        Image.open(io.BytesIO(data), formats=("JPEG",)),
        lambda full: (full[0] // factor, full[1] // factor) if factor > 1 else None,
    )
