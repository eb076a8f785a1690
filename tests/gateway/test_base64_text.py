"""Files in base64, shorter and longer than what is decoded at once."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swin_gateway.base64_text import PIECE, decoded


@given(st.binary(max_size=50))
def test_a_file_comes_out_as_it_went_in(content: bytes) -> None:
    assert decoded(base64.b64encode(content).decode()) == content


@pytest.mark.parametrize("size", [PIECE // 4 * 3 - 1, PIECE // 4 * 3, PIECE // 4 * 3 + 1, PIECE * 2])
def test_a_file_of_several_pieces_comes_out_as_it_went_in(size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    assert decoded(base64.b64encode(content[:size]).decode()) == content[:size]


@pytest.mark.parametrize(
    "text", ["?", "A", "AA=", "AA==AA==", "A" * (PIECE - 1) + "=" + "AAAA", "A" * (PIECE + 1), "é" * PIECE]
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever base64 says
        decoded(text)


def test_what_is_no_text_is_refused() -> None:
    for value in (1, None, {}, {"AAAA": 0}, ["AAAA"], b"AAAA"):
        with pytest.raises(TypeError):
            decoded(value)
