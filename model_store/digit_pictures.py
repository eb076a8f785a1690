"""8x8 ink coverage -> RGB pictures of digits in many looks: what training, figures and samples are drawn with."""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.io import decode_jpeg, encode_jpeg


@dataclass(frozen=True)
class Look:
    """How B digits are drawn, one row a digit; lengths are shares of the canvas's shorter side."""

    ink: Tensor  # (B, 3) RGB in 0..1
    paper: Tensor  # (B, 3) RGB in 0..1
    extent: Tensor  # (B, 2) width and height of the digit
    angle: Tensor  # (B,) radians
    centre: Tensor  # (B, 2) x and y of the digit's centre, the canvas being -1..1
    edge: Tensor  # (B,) slope of the stroke's edge, 1 = as scanned, more = crisper
    weight: Tensor  # (B,) coverage at the middle of that edge: less = bolder


PAINTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # ink, paper
    "dark-on-light": ((0.05, 0.05, 0.08), (1.0, 1.0, 1.0)),
    "light-on-dark": ((1.0, 1.0, 1.0), (0.05, 0.05, 0.08)),
    "blue-on-cream": ((0.1, 0.2, 0.7), (0.98, 0.94, 0.82)),
    "yellow-on-green": ((1.0, 0.85, 0.3), (0.05, 0.35, 0.25)),
    "red-on-white": ((0.8, 0.1, 0.15), (1.0, 1.0, 1.0)),
    "cyan-on-purple": ((0.5, 0.95, 1.0), (0.3, 0.1, 0.4)),
}


def uniform(low: float, high: float, *shape: int, generator: Generator) -> Tensor:
    """Even random numbers between low and high."""
    return low + (high - low) * torch.rand(*shape, generator=generator)


def random_colours(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Ink and paper, each (B, 3), at least 0.3 apart in luminance: nobody has to read what nobody can see."""
    luminance = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
    pairs = torch.rand(count, 2, 3, generator=generator)
    while (close := ((pairs[:, 0] - pairs[:, 1]) @ luminance).abs() < 0.3).any():
        pairs[close] = torch.rand(int(close.sum()), 2, 3, generator=generator)
    return pairs[:, 0], pairs[:, 1]


def random_look(count: int, paint: str, looseness: float, generator: Generator) -> Look:
    """A look for B digits: colours by name (or "random"), placement the looser the higher `looseness`."""
    if paint == "random":
        ink, paper = random_colours(count, generator)
    else:
        ink, paper = (torch.tensor(colour).expand(count, 3) for colour in PAINTS[paint])
    size = 0.8 + looseness * uniform(-0.35, 0.25, count, 1, generator=generator)
    extent = size * (looseness * uniform(-0.2, 0.2, count, 2, generator=generator)).exp()
    room = (1.05 - extent).clamp(min=0)
    return Look(
        ink=ink,
        paper=paper,
        extent=extent,
        angle=looseness * uniform(-0.26, 0.26, count, generator=generator),
        centre=looseness * room * uniform(-1, 1, count, 2, generator=generator),
        edge=(looseness * uniform(0, 1.6, count, generator=generator)).exp(),
        weight=0.5 + looseness * uniform(-0.15, 0.1, count, generator=generator),
    )


def render(digits: Tensor, look: Look, height: int, width: int) -> Tensor:
    """(B, 8, 8) ink coverage in 0..1 -> (B, 3, height, width) uint8 RGB, for training, figures and samples."""
    cos, sin = look.angle.cos(), look.angle.sin()
    turn = torch.stack((cos, sin, -sin, cos), dim=-1).view(-1, 2, 2)
    canvas = torch.tensor([width, height]) / min(width, height)
    linear = turn * canvas / look.extent[:, :, None]  # (B, 2, 2) canvas -> digit, both in -1..1
    offset = -linear @ look.centre[:, :, None]
    grid = functional.affine_grid(
        torch.cat((linear, offset), dim=2), [len(digits), 1, height, width], align_corners=False
    )
    ink = functional.grid_sample(digits[:, None], grid, mode="bicubic", align_corners=False)
    ink = ((ink - look.weight.view(-1, 1, 1, 1)) * look.edge.view(-1, 1, 1, 1) + 0.5).clamp(0, 1)
    colour = ink * look.ink[:, :, None, None] + (1 - ink) * look.paper[:, :, None, None]
    return (colour * 255).round().to(torch.uint8)


def weather(images: Tensor, generator: Generator) -> Tensor:
    """(B, 3, H, W) uint8 -> the same with uneven light, and on random halves of the batch blur, noise and JPEG."""
    count, _, height, width = images.shape
    slope = uniform(-0.15, 0.15, count, 2, generator=generator)
    ramp = slope[:, :1, None] * torch.linspace(-1, 1, height)[:, None] + slope[:, 1:, None] * torch.linspace(
        -1, 1, width
    )
    pixels = images.float() * (1 + ramp[:, None])
    blurred, noisy, packed = torch.rand(3, count, generator=generator) < 0.5
    reach = int(torch.randint(1, 5, (), generator=generator))
    pixels[blurred] = functional.avg_pool2d(pixels[blurred], 2 * reach + 1, 1, reach, count_include_pad=False)
    strength = uniform(0, 16, int(noisy.sum()), 1, 1, 1, generator=generator)
    pixels[noisy] += strength * torch.randn(pixels[noisy].shape, generator=generator)
    images = pixels.clamp(0, 255).round().to(torch.uint8)
    quality = int(uniform(30, 96, 1, generator=generator))
    jpegs = encode_jpeg(list(images[packed]), quality)
    images[packed] = torch.stack([decode_jpeg(jpeg) for jpeg in jpegs])
    return images


def to_pil(image: Tensor, jpeg_quality: int | None = None) -> Image.Image:
    """(3, H, W) uint8 -> a PIL image, through a JPEG of that quality where one is given."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    if jpeg_quality is None:
        return picture
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=jpeg_quality)
    return Image.open(buffer).convert("RGB")
