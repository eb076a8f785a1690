"""Work that takes as long as what it is done on is large: in a thread where that is long, for the sake of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

LARGE = 2**20
"""Bytes from which it is: 24 MiB of raw pixels take 60 ms to wrap, an answer of 2 MB takes 80 ms to write."""


async def done(size: int, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """What `work` returns; size: in bytes, of what it works on."""
    if size < LARGE:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)
