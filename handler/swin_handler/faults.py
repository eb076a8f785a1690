"""Failures on demand, to see the service survive them; off unless SWINSERVE_FAULTS names a file.

The file is looked at before every forward pass. A word in it from the table below happens once: the file is removed
first. docs/reliability.md shows what the service makes of each.

    out-of-memory   the device has no memory for this batch
    cuda-error      the device's context is lost, and every later call to it would fail as well
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch

log = logging.getLogger(__name__)

VARIABLE = "SWINSERVE_FAULTS"

_FAULTS: dict[str, Callable[[], Exception]] = {
    "out-of-memory": lambda: torch.OutOfMemoryError("CUDA out of memory (on demand)"),
    "cuda-error": lambda: RuntimeError("CUDA error: device-side assert triggered (on demand)"),
}


def from_environment() -> Callable[[], None]:
    """What to call before each forward pass; it raises what the file asks for."""
    name = os.environ.get(VARIABLE)
    if not name:
        return lambda: None
    log.warning("%s is set: forward passes fail as %s says", VARIABLE, name)
    file = Path(name)

    def happen() -> None:
        try:
            word = file.read_text().strip()
            if word not in _FAULTS:
                return
            file.unlink()
        except FileNotFoundError:  # another worker may have been first
            return
        raise _FAULTS[word]()

    return happen
