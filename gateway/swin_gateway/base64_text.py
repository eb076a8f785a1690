"""A file in base64 -> the file, in pieces: while Python decodes one, no other thread runs, nor the event loop's."""

from __future__ import annotations

import base64

PIECE = 2**20
"""Characters, 3 ms; a multiple of four, so that each piece is whole."""


def decoded(text: object) -> bytes:
    """Raises ValueError when it is no base64, TypeError when it is no text."""
    if not isinstance(text, str):
        raise TypeError
    pieces = [base64.b64decode(text[at : at + PIECE], validate=True) for at in range(0, len(text), PIECE)]
    if any(len(piece) < PIECE // 4 * 3 for piece in pieces[:-1]):
        raise ValueError("padding before the end")
    return b"".join(pieces)
