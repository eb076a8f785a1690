"""What holds for every test."""

from __future__ import annotations

import os

# Files run two at a time: threads that spin while they wait for each other would take the CPUs from the other's, and
# the tests of models took five times as long. Workers of the service have it anyway.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# `swinserve build` would time every backend, for minutes; the tests of tuning ask for it.
os.environ.setdefault("SWINSERVE_TUNE", "false")
