"""How many users there are in the course of a run: its part that has passed, 0..1, and their most -> their number.

In an open loop users stand for a rate, so the same shapes hold for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

STEPS = 8
SPIKE = 8
"""How many times the usual load the spike is."""
RAMP = 0.05
"""Part of a soak in which its load comes up."""


def steps(part: float, most: int) -> int:
    """Equal steps up to the most: where throughput no longer follows is the knee. 15 s a step or more show it well."""
    return math.ceil(most * (min(math.floor(part * STEPS), STEPS - 1) + 1) / STEPS)


def spike(part: float, most: int) -> int:
    """Calm, the most for the middle fifth, and calm again: how long does it take to recover?"""
    return most if 0.4 <= part < 0.6 else math.ceil(most / SPIKE)


def soak(part: float, most: int) -> int:
    """The most, held; choose 60-70 % of the knee, and hours."""
    return math.ceil(most * min(1.0, part / RAMP)) or 1


def breakpoint_(part: float, most: int) -> int:
    """Ever more; whoever drives it ends it where the SLO breaks."""
    return math.ceil(most * part) or 1


SHAPES: Mapping[str, Callable[[float, int], int]] = {
    "steps": steps,
    "spike": spike,
    "soak": soak,
    "breakpoint": breakpoint_,
}
