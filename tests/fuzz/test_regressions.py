"""What the fuzzers found once: each file goes through the header check, the decoder and the parsers of requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import decoding, parsing

FOUND = sorted(Path(__file__).parent.glob("regressions/*.bin"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_is_answered(path: Path) -> None:
    content = path.read_bytes()
    assert decoding.outcome(content)
    for content_type in parsing.CONTENT_TYPES:
        assert parsing.body(content_type, [content])
    for kind in parsing.MESSAGES:
        assert parsing.message(kind, content)
