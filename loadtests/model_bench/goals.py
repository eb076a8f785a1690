"""The goals: ratios of two contenders' speed within one interleaved group, best by best and median by median."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .figures import Figure, fastest
from .floor import FLOOR
from .groups import CROSS, OURS

OPEN_VINO = "OpenVINO"
STOCK = "timm"


@dataclass(frozen=True)
class Side:
    model: str
    dtype: str
    who: str = ""
    """What the contender's name starts with."""
    but: tuple[str, ...] = ()
    """What it does not start with."""

    def has(self, figure: Figure) -> bool:
        same = (figure.model, figure.dtype) == (self.model, self.dtype)
        return same and figure.contender.startswith(self.who) and not figure.contender.startswith(self.but)


@dataclass(frozen=True)
class Goal:
    text: str
    ours: Side
    other: Side
    batch: int
    target: float
    group: str = ""
    """Empty: the group of our own model, dtype and batch."""


@dataclass(frozen=True)
class Result:
    goal: Goal
    ours: Figure
    other: Figure

    @property
    def best(self) -> float:
        return self.ours.best / self.other.best

    @property
    def median(self) -> float:
        return self.ours.median / self.other.median

    @property
    def reached(self) -> bool:
        return self.best >= self.goal.target and self.median >= self.goal.target


_T16, _T32, _T8 = (Side("swin_tiny", dtype, OURS) for dtype in ("bfloat16", "float32", "int8"))
_FLOAT32 = tuple(
    Goal(f"float32, batch {batch}, {model}: ours / best of the others", Side(model, "float32", OURS),
         Side(model, "float32", but=(OURS, FLOOR)), batch, 1.0)
    for model in ("swin_tiny", "swin_base", "swinv2_tiny") for batch in (1, 8, 32)
)  # fmt: skip
GOALS = (
    *(
        Goal(f"bfloat16, batch {batch}, Swin-T: ours / {text}", _T16, Side("swin_tiny", "bfloat16", who), batch, 1.25)
        for batch in (8, 1)
        for text, who in (("OpenVINO", OPEN_VINO), ("best stock timm path", STOCK))
    ),
    Goal("bfloat16, batch 8, Swin-T: ours / floor", _T16, Side("swin_tiny", "bfloat16", FLOOR), 8, 0.85),
    *(
        Goal(f"bfloat16, batch {batch}: our Swin-T / best ResNet-50 of any backend", _T16,
             Side("resnet50", "bfloat16", but=(FLOOR,)), batch, 0.80, CROSS.format(batch=batch))
        for batch in (8, 1)
    ),
    *_FLOAT32,
    Goal("int8, batch 8, Swin-T: ours / OpenVINO + NNCF", _T8, Side("swin_tiny", "int8", OPEN_VINO), 8, 1.0),
    Goal("int8, batch 1, Swin-T: ours / OpenVINO + NNCF", _T8, Side("swin_tiny", "int8", OPEN_VINO), 1, 1.0),
    Goal("batch 8, Swin-T: our int8 / our bfloat16", _T8, _T16, 8, 1.4, CROSS.format(batch=8)),
)  # fmt: skip


def results(figures: Sequence[Figure]) -> list[Result]:
    """Of the goals whose two sides were measured; the faster contender of each side counts."""
    found = []
    for goal in GOALS:
        group = goal.group or f"{goal.ours.model} {goal.ours.dtype} batch {goal.batch}"
        inside = [figure for figure in figures if figure.group == group and not figure.wrong]
        ours, other = fastest(inside, goal.ours.has), fastest(inside, goal.other.has)
        if ours is not None and other is not None:
            found.append(Result(goal, ours, other))
    return found
