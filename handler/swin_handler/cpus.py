"""The CPUs that this process may use: what its affinity allows, and no more than its control group's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of control groups, version 2: "QUOTA PERIOD" in microseconds, or "max PERIOD"; a container sees its own here."""


def available(quota: Path = _QUOTA) -> int:
    """At least 1. A quota of 1.5 CPUs counts as 2: a fraction left idle costs more than a little throttling."""
    allowed = len(os.sched_getaffinity(0))
    try:
        microseconds, period = quota.read_text().split()
    except (OSError, ValueError):
        return allowed  # no control groups, or another version of them
    if not microseconds.isdigit():
        return allowed
    return max(1, min(allowed, math.ceil(int(microseconds) / int(period))))


def share(asked: int, *, workers: int) -> int:
    """Threads of one worker: `asked`, or, for 0, twice its part of the CPUs, so that of two workers one has them all
    while the other waits for its next batch. Decoding and the forward pass take turns on them."""
    return asked or max(1, min(available(), 2 * available() // workers))
