from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin_handler import faults


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    faults.from_environment()()


@pytest.mark.parametrize(("word", "error"), [("out-of-memory", torch.OutOfMemoryError), ("cuda-error", RuntimeError)])
def test_a_fault_happens_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    word: str,
    error: type[Exception],
) -> None:
    file = tmp_path / "faults"
    monkeypatch.setenv(faults.VARIABLE, str(file))
    happen = faults.from_environment()
    assert "SWINSERVE_FAULTS is set" in caplog.text
    happen()
    file.write_text(f"{word}\n")
    with pytest.raises(error, match="CUDA"):
        happen()
    assert not file.exists()
    happen()


def test_an_unknown_word_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "faults"
    file.write_text("flood")
    monkeypatch.setenv(faults.VARIABLE, str(file))
    faults.from_environment()()
    assert file.read_text() == "flood"
