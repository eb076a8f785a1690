from __future__ import annotations

import re

import pytest

from swin_gateway.request_id import request_id_from


@pytest.mark.parametrize("asked", ["a", b"a-1", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x" * 128])
def test_a_short_printable_one_is_kept(asked: str | bytes) -> None:
    assert request_id_from(asked) == (asked.decode() if isinstance(asked, bytes) else asked)


@pytest.mark.parametrize("asked", [None, "", b"", "x" * 129, "a b", "a\n", "a\r\nset-cookie: x", "ü", b"\xff", "{}"])
def test_anything_else_is_replaced(asked: str | bytes | None) -> None:
    made = {request_id_from(asked) for _ in range(3)}
    assert len(made) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)
