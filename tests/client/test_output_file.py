"""`classify --output`: records that grow one by one, and going on after an end at any byte."""

import csv
import json
import os
from pathlib import Path

import click
import pytest

from swinserve import InvalidRequest, Prediction
from swinserve.commands.outcome import FileOutcome
from swinserve.commands.output_file import SYNC_SECONDS, OutputFile
from swinserve.image_files import ImageFile

BEST = (Prediction("thr,ee\n", 3, 0.75), Prediction('"one"', 1, 0.25))
GOOD = [
    FileOutcome("a.png", "swin", "1", BEST, request_id="r1"),
    FileOutcome("\udcff b,\n.png", "swin", "1", BEST[:1]),
    FileOutcome("none.png", "swin", "1"),
    FileOutcome("a\rb\r\n.png", "swin", "1", (Prediction("old\rmac", 4, 0.5),)),
]
FAILED = FileOutcome("bad.png", error=InvalidRequest("broken", reason="UNDECODABLE", request_id="r2"))
SUFFIXES = [".jsonl", ".csv"]


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"out{request.param}"


def written(path: Path, *outcomes: FileOutcome, model: str = "") -> set[str]:
    """What was done before."""
    output = OutputFile(path, model)
    for outcome in outcomes:
        output.keep(ImageFile(outcome.file), outcome)
    assert output.finish() == []
    return output.done


def test_what_was_good_is_done_and_what_failed_is_taken_out_to_be_tried_again(path: Path) -> None:
    assert written(path, *GOOD, FAILED) == set()
    assert b"bad.png" in path.read_bytes()
    assert written(path) == {outcome.file for outcome in GOOD}
    assert b"bad.png" not in path.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_whole_is_left_as_it_is(path: Path) -> None:
    written(path, *GOOD)
    before = path.stat().st_ino, path.read_bytes()
    assert written(path) == {outcome.file for outcome in GOOD}
    assert (path.stat().st_ino, path.read_bytes()) == before


def test_cut_off_at_any_byte_it_is_made_whole_by_what_is_missing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # a thousand times it takes seconds
    written(path, *GOOD)
    whole = path.read_bytes()
    for length in (*range(0, len(whole), 11), *range(len(whole) - 150, len(whole))):
        path.write_bytes(whole[:length])
        done = written(path)
        written(path, *[outcome for outcome in GOOD if outcome.file not in done])
        assert path.read_bytes() == whole, length


def test_json_lines_are_what_json_prints(tmp_path: Path) -> None:
    written(tmp_path / "out.ndjson", *GOOD, FAILED)
    lines = (tmp_path / "out.ndjson").read_text().splitlines()
    assert lines == [outcome.json() for outcome in (*GOOD, FAILED)]
    assert json.loads(lines[0])["predictions"][0]["label"] == "thr,ee\n"


def test_csv_has_a_row_a_prediction(tmp_path: Path) -> None:
    written(tmp_path / "out.csv", *GOOD, FAILED)
    with (tmp_path / "out.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["rank"], row["of"], row["label"], row["score"], row["reason"]) for row in rows] == [
        ("a.png", "1", "2", "thr,ee\n", "0.75", ""),
        ("a.png", "2", "2", '"one"', "0.25", ""),
        ("\udcff b,\n.png", "1", "1", "thr,ee\n", "0.75", ""),
        ("none.png", "0", "0", "", "", ""),
        ("a\rb\r\n.png", "1", "1", "old\rmac", "0.5", ""),
        ("bad.png", "0", "0", "", "", "UNDECODABLE"),
    ]
    assert (rows[0]["model"], rows[0]["request_id"], rows[-1]["message"]) == ("swin", "r1", "broken")


@pytest.mark.parametrize(
    "content", [b"my diary\n", b'{"a": 1}\n', b"[1]\n", b"file,rank\n", b"\xff\xfe\n", b'{"file": [1]}\n', b"\0\n"]
)
def test_a_file_of_somebody_else_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(click.UsageError, match="cannot be continued"):
        OutputFile(path, "")
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_strange_row_among_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    written(path, *GOOD)
    with path.open("ab") as file:
        file.write(b"a.png,2,2,x,1,1,,,,,\n" * 2)
    with pytest.raises(click.UsageError, match=r"the row of 'a\.png' is not of"):
        OutputFile(path, "")


def test_answers_of_another_model_are_not_mixed(path: Path) -> None:
    written(path, *GOOD)
    assert written(path, model="swin")
    with pytest.raises(click.UsageError, match="the model swin, not other"):
        OutputFile(path, "other")


def test_answers_of_another_version_are_not_mixed(path: Path) -> None:
    written(path, *GOOD)
    assert OutputFile(path, "swin", "1").done
    with pytest.raises(click.UsageError, match="the version 1, not 2"):
        OutputFile(path, "swin", "2")


def test_standard_input_is_kept_and_never_done(path: Path) -> None:
    written(path, FileOutcome("-", "swin", "1", BEST))
    before = path.read_bytes()
    assert written(path) == set()
    assert path.read_bytes() == before


@pytest.mark.parametrize("row", [b"\r\n", b"a\rb,1,1,x,1,1,,,,,\r\n", b'"%s"\r\n' % (b"x" * 200_000)])
def test_rows_that_csv_itself_cannot_read_are_refused(tmp_path: Path, row: bytes) -> None:
    path = tmp_path / "out.csv"
    written(path, *GOOD)
    whole = path.read_bytes() + row + row
    path.write_bytes(whole)
    with pytest.raises(click.UsageError, match="cannot be continued"):
        OutputFile(path, "")
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_the_file_keeps_its_mode(path: Path) -> None:
    real = path.with_name(f"real{path.suffix}")
    path.symlink_to(real.name)
    written(path, *GOOD, FAILED)
    real.chmod(0o640)
    assert written(path, FAILED) == {outcome.file for outcome in GOOD}
    assert path.is_symlink()
    assert (real.stat().st_mode & 0o777, b"bad.png" in real.read_bytes()) == (0o640, True)


def test_nothing_is_left_behind_where_reading_ends_otherwise(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    written(path, *GOOD)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        OutputFile(path, "")
    assert list(path.parent.iterdir()) == [path]


def test_the_suffix_says_the_format(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"\.jsonl, \.ndjson, \.csv"):
        OutputFile(tmp_path / "photo.png", "")


def test_what_is_written_reaches_the_disk_about_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    now = 0.0
    output = OutputFile(tmp_path / "out.jsonl", "", clock=lambda: now)
    for seconds in (0.0, SYNC_SECONDS / 2, SYNC_SECONDS, SYNC_SECONDS * 1.5):
        now = seconds
        output.keep(ImageFile("a"), GOOD[0])
    assert len(synced) == 1
    output.finish()
    assert len(synced) == 2


def test_a_place_that_takes_nothing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out.csv").symlink_to("nowhere/at/all")
    output = OutputFile(tmp_path / "out.csv", "")
    with pytest.raises(click.ClickException, match=r"cannot write .*out\.csv: No such file or directory"):
        output.keep(ImageFile("a"), GOOD[0])
    assert output.finish() == []
