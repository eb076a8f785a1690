"""Whoever answers: a name, a call, and the processes that do the work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

import psutil

from .load import Call

CALLERS = (1, 8, 32)
OURS, DOCUMENTED, TUNED = "ours", "as documented", "with our engine"


async def untold() -> tuple[float, float]:
    return 0.0, 0.0


@dataclass(frozen=True)
class Side:
    name: str
    variant: str
    """OURS, or how a peer is set up."""
    call: Call
    processes: Mapping[str, psutil.Process]
    """One alone stands for its children too."""
    version: str = ""
    """Of a peer's packages."""
    request_seconds: Callable[[], Awaitable[tuple[float, float]]] = untold
    """(sum, count) of the calls so far, as the server itself times them."""


Opening = Callable[[], AbstractAsyncContextManager[Side]]
"""Starts a side for its turn."""


def always(side: Side) -> Opening:
    """One that runs all the time."""
    return lambda: nullcontext(side)
