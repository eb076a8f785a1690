"""Fixed noise and what timm answers to it in float64: every forward pass is held against it before it serves."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.forward import Forward
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.plan import TORCH_DTYPES
from swin_handler.model import LoadedModel

FILE = "probe.safetensors"
_IMAGES = 4
_FLOAT32, _BFLOAT16, _STOCK = 1e-5, 1e-2, 1.2
"""Relative L2 allowed in float32 and bfloat16; the latter also up to _STOCK times what timm itself is off in bfloat16:
Swin V2's cosine attention amplifies rounding."""
_INT8 = 0.5
"""Rounding to 8 bits is judged on images, by the agreement report; here only a broken kernel is told."""


@dataclass(frozen=True)
class Probe:
    pixels: torch.Tensor
    """uint8 (n, H, W, 3)"""
    expected: torch.Tensor
    """float32 (n, classes), or embeddings (n, D) of a model without a head"""
    tolerance: Mapping[str, float]
    """dtype -> relative L2"""

    @classmethod
    def of(cls, model: LoadedModel) -> Self:
        """Asks the model itself, in eager mode."""
        pixels = _noise(model)
        expected = _exact(model, pixels)
        # Together and one by one, as batch sizes round differently: of few classes the error is a small sample.
        rounded = [_answer(model, pixels, torch.bfloat16, batch=batch) for batch in (len(pixels), 1)]
        return cls(pixels, expected, _tolerance(max(relative_l2(answer, expected) for answer in rounded)))

    @classmethod
    def read(cls, model: LoadedModel, folder: Path) -> Self:
        """What `write` left. Raises BackendFailed."""
        try:
            stored = load_file(folder / FILE)
            return cls(_noise(model), stored["expected"], _tolerance(float(stored["stock"])))
        except (OSError, SafetensorError, KeyError) as error:
            raise BackendFailed(f"{FILE} cannot be read: {error}") from error

    def write(self, folder: Path) -> None:
        stock = torch.tensor(self.tolerance["bfloat16"] / _STOCK)
        save_file({"expected": self.expected.contiguous(), "stock": stock}, folder / FILE)

    def error(self, forward: Forward, bucket: int) -> float:
        """Relative L2 of the answers to all images, in as many forward passes as it takes; also their warm-up."""
        images = max(bucket, len(self.pixels) // bucket * bucket)
        repeats = -(-images // len(self.pixels))
        pixels = self.pixels.repeat(repeats, 1, 1, 1)
        with torch.inference_mode():
            answers = torch.cat([forward(pixels[at : at + bucket]).answer for at in range(0, images, bucket)])
        return relative_l2(answers, self.expected.repeat(repeats, 1)[:images])

    def check(self, forward: Forward, bucket: int, dtype: str) -> float:
        """`error`, once it is found small enough. Raises BackendFailed."""
        try:
            found = self.error(forward, bucket)
        except torch.AcceleratorError:
            raise  # the device's context is lost: nothing else could run either
        except RuntimeError as error:
            raise BackendFailed(f"its forward pass at batch {bucket} fails: {error}") from error
        if not found <= self.tolerance[dtype]:
            raise BackendFailed(
                f"its answers at batch {bucket} differ: relative L2 {found:.1e}, allowed in {dtype} are "
                f"{self.tolerance[dtype]:.1e}"
            )
        return found


def relative_l2(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def _tolerance(stock: float) -> dict[str, float]:
    return {"float32": _FLOAT32, "bfloat16": max(_BFLOAT16, _STOCK * stock), "int8": _INT8}


def _exact(model: LoadedModel, pixels: torch.Tensor) -> torch.Tensor:
    """In float64: timm's own float32 may be nearly as far off as is allowed, and would be counted against others."""
    try:
        return _answer(model, pixels, torch.float64, batch=len(pixels))
    except RuntimeError:  # a model that makes some of its tensors in float32 whatever its weights are
        return _answer(model, pixels, torch.float32, batch=len(pixels))


@torch.inference_mode()
def _answer(model: LoadedModel, pixels: torch.Tensor, dtype: torch.dtype, *, batch: int) -> torch.Tensor:
    module = NormalisedModel(model if dtype == torch.float32 else deepcopy(model))
    module.round_to(dtype)
    parts = [pixels[at : at + batch] for at in range(0, len(pixels), batch)]
    return torch.cat([module(part).answer.float() for part in parts])


def _noise(model: LoadedModel) -> torch.Tensor:
    # Unlike a grey image, noise reaches every unit.
    height, width = model.data_config["input_size"][-2:]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (_IMAGES, height, width, 3), dtype=torch.uint8, generator=generator)


assert set(TORCH_DTYPES) < set(_tolerance(0)), "every dtype has a bound"
