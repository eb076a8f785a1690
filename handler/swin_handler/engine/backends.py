"""The backends by name, and the order in which they are a safe default."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from swin_handler.engine import cpu, cuda, eager, inductor, native, openvino
from swin_handler.engine.forward import Forward
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel


class Backend(Protocol):
    """A module of this package."""

    def refusal(self, model: LoadedModel, plan: Plan, /) -> str | None:
        """Why it cannot run this model here, one line for a person; None: it can."""

    def prepare(self, model: LoadedModel, plan: Plan, folder: Path, /) -> None:
        """Compile ahead into `folder`, which exists. Raises BackendFailed."""

    def load(self, model: LoadedModel, plan: Plan, folder: Path, /) -> dict[int, Forward]:
        """One forward pass for each bucket, from what `prepare` left. Raises BackendFailed."""


_CPU: dict[str, Backend] = {"native": native, "inductor": inductor, "openvino": openvino, "eager": eager}
_CUDA: dict[str, Backend] = dict.fromkeys(cuda.WAYS, cuda)
_SAFE = {"cpu": ("native", "eager"), "cuda": ("graphs", "eager")}


def all_of(device: torch.device) -> dict[str, Backend]:
    """The earlier, the better where two are equally fast."""
    return _CUDA if device.type == "cuda" else _CPU


def safe(device: torch.device) -> tuple[str, ...]:
    """Those that need neither minutes of compiling nor another package, fastest first; the last works everywhere."""
    return _SAFE[device.type]


def dtype(device: torch.device) -> str:
    """What `auto` means: bfloat16 where the hardware multiplies in it, else float32."""
    return "bfloat16" if device.type == "cuda" or cpu.has_bfloat16() else "float32"
