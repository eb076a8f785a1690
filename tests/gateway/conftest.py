"""A gateway with one loaded model and a fake WorkerClient behind it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .assembly import Gateway, gateway


@pytest.fixture
async def served() -> Gateway:
    return gateway()


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
