from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from swin_gateway.errors import StartError
from swin_gateway.watched_files import Contents, WatchedFiles


class Loaded:
    """Takes whatever is not "broken"."""

    def __init__(self) -> None:
        self.contents: list[Contents] = []

    def __call__(self, contents: Contents) -> None:
        if b"broken" in contents:
            raise ValueError("this is broken")
        self.contents.append(contents)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    return path


@pytest.fixture
def loaded() -> Loaded:
    return Loaded()


def test_contents_are_loaded_at_the_start_and_when_they_have_changed(file: Path, loaded: Loaded) -> None:
    watched = WatchedFiles("it", [file], loaded)
    watched.look()
    file.write_text("two")
    watched.look()
    watched.look()
    assert loaded.contents == [(b"one",), (b"two",)]


def test_a_link_that_is_swapped_is_a_change(tmp_path: Path, loaded: Loaded) -> None:
    """As Kubernetes does it: the file's link stays, the folder's is replaced."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "file").write_text(version)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "file").symlink_to("..data/file")
    watched = WatchedFiles("it", [tmp_path / "file"], loaded)
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "..data")
    watched.look()
    assert loaded.contents == [(b"1",), (b"2",)]


@pytest.mark.parametrize("broken", ["broken", None], ids=["broken", "gone"])
def test_what_cannot_be_loaded_is_told_once_and_changes_nothing(file: Path, loaded: Loaded, broken: str | None) -> None:
    watched = WatchedFiles("it", [file], loaded)
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    with capture_logs() as logs:
        watched.look()
        watched.look()
    assert [(entry["log_level"], entry["what"]) for entry in logs] == [("error", "it")]
    assert loaded.contents == [(b"one",)]
    file.write_text("two")
    watched.look()
    assert loaded.contents == [(b"one",), (b"two",)]


def test_what_could_not_be_loaded_is_tried_again_and_another_reason_is_told(file: Path) -> None:
    """Time alone makes some files good: a certificate that is valid from now on, on a clock that is behind."""
    reasons = ["", "not yet valid", "not yet valid", "something else", ""]

    def load(_: Contents) -> None:
        if reason := reasons.pop(0):
            raise ValueError(reason)

    watched = WatchedFiles("it", [file], load)
    file.write_text("two")
    with capture_logs() as logs:
        for _ in range(5):
            watched.look()
    assert [entry.get("error") for entry in logs] == ["not yet valid", "something else", None]
    assert not reasons


@pytest.mark.parametrize("text", ["broken", None], ids=["broken", "gone"])
def test_at_the_start_it_is_refused(file: Path, loaded: Loaded, text: str | None) -> None:
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(StartError, match=r"^it: .*(broken|No such file)"):
        WatchedFiles("it", [file], loaded)
