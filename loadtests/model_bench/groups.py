"""What is measured together: one group for each model, dtype and batch, and groups for ratios across them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import floor, onnx_runtime, open_vino, ours, stock_timm
from .contender import Contender
from .rounds import Entry

CONTENDERS: tuple[Contender, ...] = (
    *ours.CONTENDERS,
    *open_vino.CONTENDERS,
    *onnx_runtime.CONTENDERS,
    *stock_timm.CONTENDERS,
    *floor.CONTENDERS,
)
OURS = "ours"
CROSS = "Swin-T, ResNet-50 and int8, batch {batch}"
DTYPES = ("bfloat16", "float32", "int8")
MODELS = ("swin_tiny", "resnet50", "swinv2_tiny", "swin_base")


@dataclass(frozen=True)
class Group:
    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Choice:
    """What of everything is to be measured."""

    models: Sequence[str] = MODELS
    dtypes: Sequence[str] = DTYPES
    batches: Sequence[int] = (1, 8, 32)
    contenders: Sequence[str] = ()
    """Parts of names; empty: all."""

    def names(self, contender: str) -> bool:
        return not self.contenders or any(part in contender for part in self.contenders)

    def takes(self, entry: Entry) -> bool:
        named = self.names(entry.contender.name)
        return named and entry.model in self.models and entry.dtype in self.dtypes and entry.batch in self.batches


def groups(choice: Choice) -> list[Group]:
    found = [
        Group(f"{model} {dtype} batch {batch}", _entries(choice, model, dtype, batch))
        for model in choice.models
        for dtype in choice.dtypes
        for batch in choice.batches
    ]
    found += [_cross(choice, batch) for batch in choice.batches if batch in (1, 8)]
    return [group for group in found if group.entries]


def _entries(choice: Choice, model: str, dtype: str, batch: int) -> tuple[Entry, ...]:
    entries = (Entry(model, dtype, batch, contender) for contender in CONTENDERS)
    return tuple(filter(choice.takes, entries))


def _cross(choice: Choice, batch: int) -> Group:
    """Our Swin-T in bfloat16 and int8 and everybody's ResNet-50; nothing where the choice leaves one side out."""
    swin = [
        Entry("swin_tiny", dtype, batch, contender) for dtype in ("bfloat16", "int8") for contender in ours.CONTENDERS
    ]
    resnet = [Entry("resnet50", "bfloat16", batch, contender) for contender in CONTENDERS if contender.checked]
    sides = [tuple(filter(choice.takes, side)) for side in (swin, resnet)]
    return Group(CROSS.format(batch=batch), sides[0] + sides[1] if all(sides) else ())
