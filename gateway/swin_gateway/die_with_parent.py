"""Runs argv[1:] in this process such that the kernel kills it when its parent dies, however the parent dies.

`python -IS die_with_parent.py PROGRAM ARG…`, with the parent's pid in SWINSERVE_PARENT_PID; the program gets its own
pid there, so that the next in the chain (gateway -> JVM -> worker) can do the same. Linux only; elsewhere it just runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before prctl; then the signal will never come.
        if os.getppid() != int(os.environ["SWINSERVE_PARENT_PID"]):
            sys.exit("swinserve: the parent process has gone")
    os.environ["SWINSERVE_PARENT_PID"] = str(os.getpid())
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
