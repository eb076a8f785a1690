"""What holds for every test."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest

# Files run two at a time: threads that spin while they wait for each other would take the CPUs from the other's, and
# the tests of models took five times as long. Workers of the service have it anyway.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# `swinserve build` would time every backend, for minutes; the tests of tuning ask for it.
os.environ.setdefault("SWINSERVE_TUNE", "false")


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """What commands set for their process, of logging and signals, would else decide what later tests see."""
    loggers = [logging.getLogger(), logging.getLogger("swin_handler")]
    before = [(each, each.level, each.filters[:]) for each in loggers]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for each, level, filters in before:
        each.setLevel(level)
        each.filters[:] = filters
    for number, handler in handlers.items():
        signal.signal(number, handler)
