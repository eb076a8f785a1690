"""The headers of an HTTP answer -> those to add, so that a browser makes nothing else of it than what was meant."""

from __future__ import annotations

from collections.abc import Iterable

Header = tuple[bytes, bytes]

ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
CONTENT_SECURITY_POLICY: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
NO_STORE: Header = (b"cache-control", b"no-store")
HSTS: Header = (b"strict-transport-security", b"max-age=31536000")


def security_headers(answer: Iterable[Header], *, scheme: str) -> list[Header]:
    """scheme: "https" if the call came over TLS"""
    named = {name for name, _ in answer}
    added = list(ALWAYS)
    if b"content-security-policy" not in named:
        added.append(CONTENT_SECURITY_POLICY)
    if not named & {b"cache-control", b"etag"}:  # the files of /docs may be kept
        added.append(NO_STORE)
    if scheme == "https":
        added.append(HSTS)
    return added
