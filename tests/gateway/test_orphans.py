"""In a PID namespace of its own, where a script is the first process, as the gateway is in a container."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

AS_FIRST = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")

# Its child lasts until the end and then ends with 7; shells leave it three orphans that end at once.
SCRIPT = """
import asyncio, sys
from pathlib import Path
from swin_gateway import orphans

def zombies():
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return sum(state == "Z" for state, *_ in stats)

async def main():
    child = await asyncio.create_subprocess_exec("sh", "-c", "read line; exit 7", stdin=asyncio.subprocess.PIPE)
    if sys.argv[1] == "reap":
        orphans.reap(child.pid)
    for _ in range(3):
        await (await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.05 & sleep 0.05 &")).wait()
    left = []
    for _ in range(200):
        await asyncio.sleep(0.02)
        left = [path for path in Path("/proc").glob("[0-9]*") if path.name not in ("1", str(child.pid))]
        if len(left) == zombies():
            break
    child.stdin.close()
    print(len(left), await child.wait())

asyncio.run(main())
"""


def first_process(mode: str) -> tuple[int, int]:
    """Orphans left as zombies; the exit code that the child's parent was told."""
    if subprocess.run([*AS_FIRST, "true"], capture_output=True).returncode and not os.environ.get("CI"):
        pytest.skip("this machine allows no PID namespaces")
    command = [*AS_FIRST, sys.executable, "-c", SCRIPT, mode]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    zombies, code = map(int, done.stdout.split())
    return zombies, code


def test_a_first_process_takes_the_exit_codes_of_orphans_and_leaves_its_childs() -> None:
    assert first_process("reap") == (0, 7)


def test_else_they_would_stay() -> None:
    assert first_process("ignore") == (6, 7)
