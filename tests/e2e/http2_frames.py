"""HTTP/2 by hand, frame by frame (RFC 9113): what no gRPC client would send."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS = 1, 1, 4
CANCEL, ENHANCE_YOUR_CALM = 8, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def headers(**fields: str) -> bytes:
    """HPACK without compression: each field literal, not indexed. `_` stands for `-`, and for `:` in front."""
    lines = [(name.replace("_", ":", name.startswith("_")).replace("_", "-"), value) for name, value in fields.items()]
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in lines)


def _string(text: str) -> bytes:
    length = len(text)
    if length < 127:
        return bytes((length,)) + text.encode()
    length -= 127
    prefix = [127]
    while length >= 128:
        prefix.append(128 + length % 128)
        length //= 128
    return bytes((*prefix, length)) + text.encode()


def call(method: str, **metadata: str) -> bytes:
    """The headers of a gRPC call."""
    pseudo = {"_method": "POST", "_scheme": "http", "_path": method, "_authority": "x"}
    return headers(**pseudo, te="trailers", content_type="application/grpc", **metadata)


class Connection:
    def __init__(self, address: str) -> None:
        """address: grpc://host:port"""
        host, _, port = address.removeprefix("grpc://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.socket.sendall(PREFACE + frame(SETTINGS))

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) until the server closes; settings and pings are acknowledged."""
        with self.socket.makefile("rb") as file:
            while len(head := file.read(9)) == 9:
                length = int.from_bytes(head[:3], "big")
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                payload = file.read(length)
                if kind in (SETTINGS, PING) and not flags & ACK:
                    with contextlib.suppress(ConnectionError):  # what it said before it closed is still to be read
                        self.socket.sendall(frame(kind, payload if kind == PING else b"", flags=ACK))
                yield kind, flags, stream, payload

    def goodbyes(self) -> list[int]:
        """Reads to the end; the error codes of the server's GOAWAYs."""
        said = []
        with contextlib.suppress(ConnectionError):
            for kind, _, _, payload in self.frames():
                if kind == GOAWAY:
                    said += struct.unpack(">I", payload[4:8])
        return said

    def close(self) -> None:
        self.socket.close()
