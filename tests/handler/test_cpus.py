from __future__ import annotations

import os
from pathlib import Path

import pytest

from swin_handler import cpus

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000\n", ALLOWED),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("99900000 100000", ALLOWED),
        ("", ALLOWED),
    ],
    ids=["none", "one CPU", "half a CPU", "more than there are", "not a quota"],
)
def test_a_quota_of_the_control_group_counts(tmp_path: Path, quota: str, expected: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert cpus.available(file) == expected


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cpus.available(tmp_path / "absent") == ALLOWED


def test_workers_share_the_cpus_unless_told_otherwise() -> None:
    assert cpus.share(3, workers=1) == 3
    assert cpus.share(0, workers=10**6) == 1
    assert cpus.share(0, workers=1) == cpus.available()
    assert cpus.share(0, workers=2) == cpus.available()  # one has them all while the other waits for its batch
    assert cpus.share(0, workers=2 * cpus.available()) == 1
