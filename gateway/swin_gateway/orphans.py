"""In a container, where the gateway is the first process: ended orphans -> their numbers free again.

The kernel gives a process whose parent has ended to the first one, such as what a probe's shell left behind, and keeps
it as a zombie until its exit code is asked for. So no init has to be put before the gateway.
"""

from __future__ import annotations

import asyncio
import os
import signal

FIRST = 1


def reap(child: int) -> None:
    """From now on, in the running loop. child: the one process whose exit code others wait for"""
    if os.getpid() == FIRST:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, _reap_all_but, child)


def _reap_all_but(child: int) -> None:
    # Looks before it takes: waiting for any process would take the child's exit code too.
    while (ended := _ended()) and ended != child:
        os.waitpid(ended, 0)


def _ended() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None
