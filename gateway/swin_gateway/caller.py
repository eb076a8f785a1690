"""An address as gRPC or REST names it -> whose call this is without tokens: one caller is one host, over both."""

from __future__ import annotations

from urllib.parse import unquote


def of_grpc(peer: str) -> str:
    """peer: grpc's "ipv4:1.2.3.4:5678", "ipv6:%5B::1%5D:5678" or "unix:/path"."""
    kind, _, address = peer.partition(":")
    return unquote(address).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else address


def of_rest(client: tuple[str, int] | None) -> str:
    """client: ASGI's address and port; None where there is none"""
    return client[0] if client else ""
