"""Two services behind a real proxy, restarted in turn under load: no call fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROLLING = Path(__file__).resolve().parents[2] / "loadtests" / "rolling.py"


@pytest.mark.parametrize("calls", [200, pytest.param(6000, marks=pytest.mark.slow)])
def test_no_call_fails_while_instances_are_restarted(calls: int) -> None:
    if not os.environ.get("CI") and not shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("haproxy is not installed")
    command = [sys.executable, ROLLING, "--calls", str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    (verdict,) = [line for line in done.stdout.splitlines() if line.endswith("calls failed")]
    failed, _, answered, *_ = verdict.split()
    assert (failed, int(answered) >= calls) == ("0", True)
