"""Connections and images at a time -> the kernel's limit of open files, raised so that there may be as many.

A usual soft limit is 1,024. Callers' connections could use it up, and there would be none left towards TorchServe.
"""

from __future__ import annotations

import resource

import structlog

log = structlog.get_logger("open_files")

PORTS = 3
OTHERS = 200
"""Libraries, logs, TorchServe's pipe, connections that are refused, memory that is kept for images, gRPC's own."""
PER_IMAGE = 2
"""Of one that TorchServe has: its connection and its memory."""


def allow(connections: int, images: int) -> None:
    """connections: of each port; images: most that TorchServe has at a time"""
    needed = PORTS * connections + PER_IMAGE * images + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return
    # Not to the hard limit, which may be a billion: some programs walk through all numbers that a file could have.
    most = needed if hard == unlimited else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        log.warning(
            "fewer files may be open than connections are let in: raise `ulimit -Hn` or lower --max-connections",
            allowed=most,
            needed=needed,
        )
