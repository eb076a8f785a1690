"""`swinserve classify --embedding` and `--cam`: the files that they write, over both protocols."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from swinserve import Prediction
from swinserve.cli import main
from swinserve.commands.outcome import FileOutcome
from swinserve.commands.picture_files import names
from swinserve.commands.without_class import without_class

from .conftest import Service
from .contract import EMBEDDING, MAPS, REGION

Run = Callable[..., Result]


@pytest.fixture
def run(service: Service) -> Run:
    def run(*args: str, **options: object) -> Result:
        env = {"SWINSERVE_SERVER": service.url}
        return CliRunner(env=env).invoke(main, ["classify", *args], prog_name="swinserve", **options)

    return run


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (40, 30), "teal").save(name)
    Path("bad.jpg").write_bytes(b"bad UNDECODABLE")


def test_the_best_classs_map_is_drawn_over_the_image(run: Run, service: Service) -> None:
    result = run("a.jpg", "--cam", "out.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "three" in result.stdout
    assert service.seen[0].class_activation_map
    with Image.open("out.png") as picture:
        assert picture.width == 40 * 8


def test_several_files_get_a_picture_each(run: Run) -> None:
    result = run("a.jpg", "bad.jpg", "-", "--cam", "out.png", input=Path("b.jpg").read_bytes())
    assert result.exit_code == 1
    assert sorted(str(path) for path in Path().glob("*.png")) == ["out-a.png", "out-stdin.png"]
    assert result.stderr.splitlines()[-1] == "swinserve: 1 of 3 files failed"


def test_an_image_that_pillow_cannot_read_loses_its_picture_alone(run: Run) -> None:
    Path("odd").write_bytes(b"something that the fake service likes")
    result = run("odd", "a.jpg", "--cam", "out.png")
    assert result.exit_code == 1
    assert "swinserve: out-odd.png was not drawn: Pillow cannot read the image: " in result.stderr
    assert result.stdout.count("three") == 2
    assert Path("out-a.png").exists()


def test_without_a_class_there_is_no_picture(run: Run) -> None:
    result = run("a.jpg", "--cam", "out.png", "--model", "headless")
    assert (result.exit_code, result.stderr) == (1, "swinserve: out.png was not drawn: there is no class to draw\n")


def test_embeddings_are_written_a_row_for_each_file(run: Run) -> None:
    result = run("a.jpg", "bad.jpg", "missing.jpg", "b.jpg", "--embedding", "rows.npy", "--top-k", "0")
    assert result.exit_code == 1
    rows = np.load("rows.npy")
    assert (rows.dtype, rows.shape) == (np.float32, (4, 3))
    np.testing.assert_array_equal(rows[[0, 3]], np.float32([EMBEDDING, EMBEDDING]))
    assert np.isnan(rows[1:3]).all()
    assert (
        result.stderr.splitlines()[-1]
        == "swinserve: rows.npy: 2 of 4 rows are NaN, those of files without an embedding"
    )
    assert result.stdout.count("embedding of 3, norm 5.001") == 2
    assert result.stdout.endswith("\n(no class was asked for)\n")


def test_all_embeddings_is_success_and_none_is_not(run: Run) -> None:
    assert (run("a.jpg", "b.jpg", "--embedding", "rows.npy").exit_code, np.load("rows.npy").shape) == (0, (2, 3))
    result = run("bad.jpg", "--embedding", "none.npy")
    assert result.exit_code == 1
    assert "swinserve: none.npy was not written: there is no embedding" in result.stderr
    assert not Path("none.npy").exists()


def test_what_came_before_the_service_went_away_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from swinserve import Client, Unavailable

    ask = Client.classify_many

    def but_the_last(self: Client, images: Sequence[bytes], **how: object) -> object:
        if len(images) == 4:
            raise Unavailable("gone", reason="DRAINING")
        return ask(self, images, **how)

    monkeypatch.setattr(Client, "classify_many", but_the_last)
    result = run(*["a.jpg"] * 20, "--embedding", "rows.npy")
    assert result.exit_code == 3
    assert np.isnan(np.load("rows.npy")).all(axis=1).tolist() == [False] * 16 + [True] * 4
    assert "rows.npy: 4 of 20 rows are NaN" in result.stderr


def test_json_lines_hold_the_arrays_that_were_asked_for_as_lists(run: Run) -> None:
    (line,) = run("a.jpg", "--json", "--embedding", "rows.npy", "--cam", "out.png").stdout.splitlines()
    found = json.loads(line)
    assert found["embedding"] == np.float32(EMBEDDING).tolist()
    assert found["map_region"] == REGION
    maps = [prediction["class_activation_map"] for prediction in found["predictions"]]
    assert maps == [np.float32(MAPS[label]).reshape(2, 3).tolist() for label in ("three", "one")]


@pytest.mark.parametrize("options", [[], ["--min-score", "0.5"], ["--embedding", "rows.npy"]])
def test_a_model_without_classes_says_so_and_shows_its_embedding(run: Run, options: list[str]) -> None:
    result = run("a.jpg", "--model", "headless", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    row = next(line for line in result.stdout.splitlines() if "a.jpg" in line)
    assert row.split() == ["a.jpg", "embedding", "of", "3,", "norm", "5.001", "10.0"]
    assert result.stdout.endswith("\n(the model has no classes)\n")


def test_why_there_is_no_class_is_said_once_and_leaves_long_file_names_whole(run: Run) -> None:
    long = "folder/" * 20 + "a.jpg"
    Path(long).parent.mkdir(parents=True)
    Path(long).write_bytes(b"a")
    result = run(long, "a.jpg", "--model", "headless")
    assert long in result.stdout
    assert result.stdout.count("no class") == 1
    assert max(map(len, result.stdout.splitlines())) < len(long) + 100


def test_where_nobody_knows_why_there_is_no_class_no_reason_is_made_up(run: Run) -> None:
    result = run("a.jpg", "--model", "headless", "--min-score", "0.5", "--embedding", "rows.npy")
    assert "no class, embedding of 3, norm 5.001" in result.stdout
    assert "(" not in result.stdout


def found(predictions: int = 0, embedding: bool = True) -> FileOutcome:
    best = (Prediction("three", 3, 0.75),) * predictions
    return FileOutcome("a.jpg", predictions=best, embedding=np.ones(3, np.float32) if embedding else None)


@pytest.mark.parametrize(
    ("how", "good", "why"),
    [
        ({"top_k": 0}, [found()], "no class was asked for"),
        ({"embedding": False, "min_score": 0.5}, [found(embedding=False)], "no score reaches the minimum"),
        ({"min_score": 0.5}, [found(), found(1)], "no score reaches the minimum"),
        ({"min_score": 0.5}, [found()], ""),
        ({}, [found(embedding=False)], ""),
        ({}, [found()], "the model has no classes"),
        ({"embedding": False, "min_score": 0.5}, [found()], "the model has no classes"),
    ],
)
def test_the_reason_follows_from_what_was_asked_and_what_came(
    how: dict[str, object], good: list[FileOutcome], why: str
) -> None:
    assert without_class({"top_k": None, "embedding": True, "min_score": 0.0} | how, good) == why


@pytest.mark.parametrize(("option", "path"), [("--cam", "nodir/out.png"), ("--embedding", "nodir/rows.npy")])
def test_a_folder_that_is_not_there_is_named_before_anything_is_sent(
    run: Run, service: Service, option: str, path: str
) -> None:
    result = run("a.jpg", option, path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for '{option}': there is no folder nodir\n" in result.stderr
    assert not service.seen


@pytest.mark.parametrize(("option", "path"), [("--cam", "out.png"), ("--embedding", "rows.npy")])
def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_1(run: Run, option: str, path: str) -> None:
    Path(path).symlink_to("nowhere/at/all")
    result = run("a.jpg", option, path)
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot write {path}: No such file or directory\n"


@pytest.mark.parametrize(
    "args",
    [
        ["a.jpg", "--cam", "b.jpg"],
        ["a.jpg", "--embedding", "b.jpg"],
        ["a.png", "--cam", "a.png"],
        ["out-a.png", "a.jpg", "--cam", "out.png"],
        ["a.jpg", "other/a.jpg", "--cam", "out.png"],
    ],
)
def test_a_command_line_that_would_cost_a_file_is_refused_before_anything_is_sent(
    run: Run, service: Service, args: list[str]
) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert not service.seen


def test_without_pillow_it_says_what_to_install_before_anything_is_sent(
    run: Run, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "swinserve.commands.picture", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    result = run("a.jpg", "--cam", "out.png")
    assert result.exit_code == 2
    assert "pip install 'swinserve[draw]'" in result.stderr
    assert not service.seen
    assert run("a.jpg", "--embedding", "rows.npy").exit_code == 0


def test_a_picture_is_named_after_its_file() -> None:
    assert names(Path("x/out.png"), ["a.jpg"]) == {"a.jpg": Path("x/out.png")}
    assert list(names(Path("x/out.png"), ["y/a.b.jpg", "-"]).values()) == [
        Path("x/out-a.b.png"),
        Path("x/out-stdin.png"),
    ]
    with pytest.raises(click.UsageError, match=r"both y/a\.jpg and a\.png as out-a\.png"):
        names(Path("out.png"), ["y/a.jpg", "a.png"])
