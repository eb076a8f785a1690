"""What holds for every test."""

from __future__ import annotations

import os

# `swinserve build` would time every backend, for minutes; the tests of tuning ask for it.
os.environ.setdefault("SWINSERVE_TUNE", "false")
