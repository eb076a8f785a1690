"""An address and a port -> a socket that listens there, or one line that says why not."""

from __future__ import annotations

import socket

from swin_gateway.errors import StartError


def listen(host: str, port: int, what: str) -> socket.socket:
    """what: for people; port 0 takes a free one. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio sets it only where the socket's protocol number says TCP, which create_server leaves out; without it
        # every answer waits 40 ms for the client's delayed acknowledgement. Accepted connections inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port} ({what}): {error.strerror}; port 0 takes a free one"
        ) from None


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
