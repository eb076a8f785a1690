"""A process -> what it listens on over TCP, from /proc: in whatever network namespace it is."""

from __future__ import annotations

import contextlib
import ipaddress
import struct
from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LISTEN = "0A"  # linux/net/tcp_states.h


def sockets(pid: int) -> dict[str, tuple[Address, int]]:
    """inode -> (address, port) of all that anybody listens on in the process's network namespace."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN:
                found[rest[5]] = _address(local)
    return found


def listening(pid: int) -> dict[int, Address]:
    """port -> address of what the process itself listens on."""
    mine = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            mine.add(str(each.readlink()).removeprefix("socket:[").removesuffix("]"))
    return {port: address for inode, (address, port) in sockets(pid).items() if inode in mine}


def _address(text: str) -> tuple[Address, int]:
    """Of "0100007F:1F90": 32-bit words in the machine's byte order, then the port."""
    words, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(words[start : start + 8], 16)) for start in range(0, len(words), 8))
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)  # what a socket of both families calls 127.0.0.1
    return mapped or address, int(port, 16)
