from __future__ import annotations

import resource

import pytest
from structlog.testing import capture_logs

from swin_gateway import open_files

UNLIMITED = resource.RLIM_INFINITY


class Kernel:
    """Stands in for the limit of this process."""

    def __init__(self, patch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.limits = soft, hard
        patch.setattr(resource, "getrlimit", lambda what: self.limits)
        patch.setattr(resource, "setrlimit", self._set)

    def _set(self, what: int, limits: tuple[int, int]) -> None:
        assert what == resource.RLIMIT_NOFILE
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1024, 524_288, 3328),
        (1024, UNLIMITED, 3328),
        (8192, 524_288, 8192),
        (UNLIMITED, UNLIMITED, UNLIMITED),
    ],
)
def test_as_many_files_are_allowed_as_connections_and_images_need(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: int
) -> None:
    kernel = Kernel(monkeypatch, soft, hard)
    with capture_logs() as logs:
        open_files.allow(connections=1000, images=64)
    assert kernel.limits == (expected, hard)
    assert not logs


def test_a_hard_limit_that_is_too_low_is_used_up_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, 1024, 2048)
    with capture_logs() as logs:
        open_files.allow(connections=1000, images=64)
    assert kernel.limits == (2048, 2048)
    assert [(entry["log_level"], entry["allowed"], entry["needed"]) for entry in logs] == [("warning", 2048, 3328)]
    assert "--max-connections" in logs[0]["event"]
