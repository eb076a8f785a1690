"""Real processes: a parent that is killed, and its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swin_gateway import die_with_parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
RUN = (sys.executable, "-IS", die_with_parent.__file__)

# Starts RUN with the rest of its arguments and waits for ever.
PARENT = """
import os, subprocess, sys
subprocess.Popen(sys.argv[1:], env=os.environ | {"SWINSERVE_PARENT_PID": str(os.getpid())}).wait()
"""


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie (which kill(pid, 0) cannot tell)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int, timeout: float = 5.0) -> bool:
    until = time.monotonic() + timeout
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.005)
    return not runs(pid)


def start(*program: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A parent of `program`, and the pids that the program prints in one line."""
    parent = subprocess.Popen((sys.executable, "-IS", "-c", PARENT, *RUN, *program), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, [int(pid) for pid in parent.stdout.readline().split()]


def kill(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    assert parent.stdout is not None
    parent.stdout.close()
    parent.wait()


def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    parent, (child,) = start("/bin/sh", "-c", "echo $$; while :; do sleep 0.05; done")
    assert runs(child)
    kill(parent)
    assert gone(child)


def test_so_does_the_whole_chain() -> None:
    grandchild = f"'{sys.executable}' -IS '{die_with_parent.__file__}' /bin/sh -c 'echo $PPID $$; exec sleep 60'"
    parent, pids = start("/bin/sh", "-c", f"{grandchild}; exit")
    assert len(pids) == 2
    assert all(map(runs, pids))
    kill(parent)
    assert all(map(gone, pids))


def test_the_program_gets_its_arguments_and_its_own_pid_to_hand_on() -> None:
    environment = os.environ | {"SWINSERVE_PARENT_PID": str(os.getpid())}
    script = 'test "$SWINSERVE_PARENT_PID" = $$ && echo "$1|$2"'
    result = subprocess.run(
        [*RUN, "/bin/sh", "-c", script, "sh", "a b", "c"], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "a b|c\n"


def test_it_refuses_to_run_when_the_parent_has_gone_already() -> None:
    environment = os.environ | {"SWINSERVE_PARENT_PID": "1"}
    result = subprocess.run(
        [sys.executable, die_with_parent.__file__, "/bin/echo", "ran"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "swinserve: the parent process has gone\n"


def test_the_exit_code_is_the_programs() -> None:
    environment = os.environ | {"SWINSERVE_PARENT_PID": str(os.getpid())}
    assert subprocess.run([*RUN, "/bin/sh", "-c", "kill -KILL $$"], env=environment).returncode == -signal.SIGKILL
