"""docs/security.md says which test tries each threat; here, that there are such tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(?P<path>tests/[\w/.]+)(?:::(?P<test>\w+))?`")


def test_every_test_that_the_threats_name_is_there() -> None:
    named = 0
    for found in NAMED.finditer((ROOT / "docs" / "security.md").read_text()):
        path = ROOT / found["path"]
        if found["test"]:
            assert f"def {found['test']}(" in path.read_text(), found[0]
        assert path.exists(), found[0]
        named += 1
    assert named > 40
