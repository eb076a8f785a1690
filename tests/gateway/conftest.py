"""A gateway with one loaded model and a fake WorkerClient behind it."""

from __future__ import annotations

import pytest

from .assembly import Gateway, gateway


@pytest.fixture
async def served() -> Gateway:
    return gateway()
