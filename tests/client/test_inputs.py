"""What the command line names -> image files."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from swinserve.commands.inputs import named, read
from swinserve.image_files import ImageFile


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos = ("b.JPG", "a.png", "notes.txt", "deep/c.webp", "odd[1].png")
    for name in (*(f"photos/{photo}" for photo in photos), "d.bmp"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    Path("empty").mkdir()


def test_a_folder_is_all_images_below_it_in_the_order_of_their_names() -> None:
    expected = ["photos/a.png", "photos/b.JPG", "photos/odd[1].png", "photos/deep/c.webp"]
    assert named(["photos"], None) == expected
    assert named(["photos/"], None) == expected


def test_a_glob_that_the_shell_left_is_expanded_and_takes_any_suffix() -> None:
    found = ["photos/a.png", "photos/notes.txt", "photos/odd[1].png"]
    assert named(["photos/*.[pt]*", "*.bmp"], None) == [*found, "d.bmp"]
    assert named(["**/*.webp"], None) == ["photos/deep/c.webp"]


def test_a_file_is_itself_though_its_name_looks_like_a_glob_or_is_not_there() -> None:
    assert named(["photos/odd[1].png", "nothing*", "-"], None) == ["photos/odd[1].png", "nothing*", "-"]


def test_a_list_names_files_a_line() -> None:
    Path("list").write_bytes("a b.png\n\nä.png\n".encode())
    assert named(["d.bmp"], "list") == ["d.bmp", "a b.png", "ä.png"]


def test_a_name_that_is_no_text_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\xff.png\n")))
    (name,) = named([], "-")
    assert os.fsencode(name) == b"\xff.png"


@pytest.mark.parametrize(
    ("arguments", "files_from", "why"),
    [
        ([], None, "name a file"),
        (["empty"], None, "no image in the folder empty"),
        (["-", "-"], None, "read once"),
        (["-"], "-", "read once"),
        ([], "missing", "No such file"),
    ],
)
def test_what_names_nothing_is_a_usage_error(arguments: list[str], files_from: str | None, why: str) -> None:
    with pytest.raises(click.UsageError, match=why):
        named(arguments, files_from)


def test_files_are_read_one_at_a_time_and_what_cannot_be_read_carries_its_error() -> None:
    files = read(["d.bmp", "missing", "photos"])
    Path("d.bmp").write_bytes(b"late")
    good, missing, folder = files
    assert good == ImageFile("d.bmp", b"late")
    assert missing.error is not None
    assert missing.error.message == "cannot read the file: No such file or directory"
    assert folder.error is not None
    assert folder.error.message == "cannot read the file: Is a directory"


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"piped")))
    assert list(read(["-"])) == [ImageFile("-", b"piped")]
