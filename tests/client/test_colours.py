"""Colours are for terminals: a real one, NO_COLOR, and a pipe."""

import os
import pty
import subprocess
import sys

import pytest

PROBE = """
from swinserve.commands.check_table import print_checks
from swinserve.commands.doctor import Check
print_checks([Check("disk", "warn", "little", "make room"), Check("Java", "fail", "none", "get one")])
"""
YELLOW = "\x1b[33m"


def on_a_terminal(**environment: str) -> str:
    """What the probe prints where stdout is one."""
    ours, theirs = pty.openpty()
    given = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    given |= {"TERM": "xterm-256color", **environment}
    with subprocess.Popen([sys.executable, "-c", PROBE], stdout=theirs, env=given) as process:
        os.close(theirs)
        printed = b""
        try:
            while part := os.read(ours, 65536):
                printed += part
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    return printed.decode()


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["plain", "NO_COLOR"]
)
def test_a_terminal_gets_colours_unless_it_asks_for_none(environment: dict[str, str], coloured: bool) -> None:
    printed = on_a_terminal(**environment)
    assert (YELLOW in printed) is coloured
    assert "warn" in printed


def test_a_pipe_gets_none() -> None:
    printed = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in printed
    assert "fail" in printed
