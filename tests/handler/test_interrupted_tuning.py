"""Ctrl-C while another process times the backends -> said in one line, and every interrupted command's exit code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from swinserve.cli import main


def test_an_interrupted_build_says_so_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    result = CliRunner().invoke(main, ["build", "swin_digits", "--tune", "--model-store", str(tmp_path)])
    assert result.exit_code == 130
    assert "interrupted while tuning: nothing was written" in result.output
    assert not list(tmp_path.glob("*.mar"))
