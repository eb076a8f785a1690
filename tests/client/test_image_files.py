"""Files -> batches for the command line."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from swinserve.image_files import ImageFile, batches, read


def sizes(lengths: list[int]) -> list[list[int]]:
    files = (ImageFile(str(i), bytes(length)) for i, length in enumerate(lengths))
    return [[len(file.content) for file in batch] for batch in batches(files)]


def test_a_call_takes_at_most_sixteen_images() -> None:
    assert [len(batch) for batch in sizes([1] * 33)] == [16, 16, 1]


def test_a_call_stays_under_eight_megabytes() -> None:
    assert sizes([5_000_000, 3_000_000, 1, 2]) == [[5_000_000, 3_000_000], [1, 2]]


def test_a_file_over_the_limit_goes_alone() -> None:
    assert sizes([1, 9_000_000, 2]) == [[1], [9_000_000], [2]]


def test_no_file_is_no_call() -> None:
    assert sizes([]) == []


def test_files_are_read_one_batch_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x")
    first = next(batches(read([str(file)] * 16 + [str(tmp_path)] * 1000)))
    assert len(first) == 16


def test_what_cannot_be_read_carries_its_error(tmp_path: Path) -> None:
    missing, folder = read([str(tmp_path / "missing"), str(tmp_path)])
    assert missing.error is not None
    assert missing.error.message == "cannot read the file: No such file or directory"
    assert folder.error is not None
    assert folder.error.message == "cannot read the file: Is a directory"


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"piped")))
    assert list(read(["-"])) == [ImageFile("-", b"piped")]
