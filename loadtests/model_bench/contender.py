"""What takes part in a benchmark: a name, and how a subject becomes a call that can be timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .subject import Subject

Call = Callable[[], torch.Tensor]
"""One forward pass of the whole batch -> logits (B, classes) on the CPU, in any floating dtype"""


class Absent(Exception):
    """A contender does not exist for this model, dtype or installation; the text is one line for a person."""


@dataclass(frozen=True)
class Setting:
    dtype: str
    """float32, bfloat16 or int8"""
    threads: int


@dataclass(frozen=True)
class Contender:
    name: str
    make: Callable[[Subject, Setting], Call]
    """Compiles and warms; raises Absent."""
    checked: bool = True
    """Its answer is the model's; False for the floor, which answers nothing."""


TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def torch_dtype(setting: Setting) -> torch.dtype:
    """Raises Absent for int8, which needs a backend of its own."""
    try:
        return TORCH_DTYPES[setting.dtype]
    except KeyError:
        raise Absent(f"timm has no {setting.dtype}") from None
