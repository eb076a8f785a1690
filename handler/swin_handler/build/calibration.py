"""A folder of the user's images -> pixels as they are served, and the class of each where its folder names it.

Half of the images set the ranges of int8, the other half judges the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from rich.console import Console
from rich.progress import track

from swin_handler.build.errors import BuildRefused
from swin_handler.config import HandlerConfig
from swin_handler.decode import Decoder
from swin_handler.errors import ImageError
from swin_handler.model import LoadedModel

LEAST, MOST = 64, 1000
"""Images. Of fewer, half would say nothing; of more, evenly spread ones are taken."""
UNKNOWN = -1
_NAMED = 3
"""Skipped files that are told by name."""


@dataclass(frozen=True)
class Images:
    pixels: torch.Tensor
    """uint8 (N, H, W, 3), resized and cropped for the model"""
    truth: torch.Tensor
    """long (N,): the class, or UNKNOWN"""

    def halves(self) -> tuple[Self, Self]:
        """Every second image, and the others: of images sorted by class, each half has all classes."""
        cls = type(self)
        return cls(self.pixels[::2], self.truth[::2]), cls(self.pixels[1::2], self.truth[1::2])


def read(folder: Path, model: LoadedModel, config: HandlerConfig, console: Console) -> Images:
    """Of `folder` and the folders in it; one that is named like a label holds images of that class.

    A file that is no readable image is skipped and named on the console. Raises BuildRefused for fewer than LEAST
    images, and for a model without classes.
    """
    if not model.labels:
        raise BuildRefused("int8 is judged by the classes it answers, and a model without a head has none")
    decode = Decoder(model.data_config, max_pixels=config.max_pixels, scaled=config.scaled_decode)
    files = _spread(_files(folder))
    pixels, skipped = {}, {}
    for file in track(files, description="reading images", console=console, transient=True):
        try:
            pixels[file] = decode(file.read_bytes()).pixels
        except (OSError, ImageError) as error:
            skipped[str(file.relative_to(folder))] = str(error)
    if skipped:
        console.print(_skipped(skipped, len(files)), markup=False, soft_wrap=True)
    if len(pixels) < LEAST:
        raise BuildRefused(
            f"{folder} has {len(pixels)} images that can be read; int8 needs at least {LEAST}, like those that will be "
            "served, better 600: half of them to calibrate with, half to judge the result by"
        )
    classes = _classes(model.labels)
    truth = [UNKNOWN if file.parent == folder else classes.get(_plain(file.parent.name), UNKNOWN) for file in pixels]
    return Images(torch.stack(list(pixels.values())), torch.tensor(truth))


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _spread(files: Sequence[Path]) -> list[Path]:
    return [files[place * len(files) // MOST] for place in range(MOST)] if len(files) > MOST else list(files)


def _skipped(reasons: Mapping[str, str], files: int) -> str:
    named = [f"{name}: {reason}" for name, reason in list(reasons.items())[:_NAMED]]
    if len(reasons) > _NAMED:
        named.append(f"and {len(reasons) - _NAMED} more")
    return f"{len(reasons)} of {files} files skipped: {'; '.join(named)}"


def _classes(labels: Sequence[str]) -> Mapping[str, int]:
    """What a folder may be called -> its class; ImageNet has two cranes, which no folder can tell apart."""
    names = [_plain(label) for label in labels]
    often = Counter(names)
    return {name: index for index, name in enumerate(names) if often[name] == 1}


def _plain(name: str) -> str:
    """Great white shark, white shark -> great_white_shark"""
    return name.partition(",")[0].strip().casefold().replace(" ", "_")
