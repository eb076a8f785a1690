"""`swinserve models`, called as the command line calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
from click.testing import CliRunner, Result

from swin_handler.build import models, released, table
from tests.handler.altered_archive import with_manifest

NAMES = [checkpoint.name for checkpoint in released.checkpoints()]


def run(*arguments: str | Path, expect: int = 0) -> Result:
    result = CliRunner().invoke(models.models, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.output.splitlines()]


def first_cells(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if line.strip()]


@pytest.fixture
def shelf(tiny_archive: Path, tmp_path: Path) -> Path:
    """A model store with one whole archive and two that cannot be served."""
    shutil.copy(tiny_archive, tmp_path)
    (tmp_path / "noise-1.0.mar").write_bytes(b"noise")
    (tmp_path / "unfinished.txt").write_text("no archive")
    return tmp_path


def test_every_released_checkpoint_is_a_row_family_by_family(tmp_path: Path) -> None:
    output = run("--model-store", tmp_path).output
    listed = [cell for cell in first_cells(output) if cell in NAMES]
    assert listed == NAMES
    titles = [line.strip() for line in output.splitlines() if line.strip() in released.FAMILIES.values()]
    assert titles == list(released.FAMILIES.values())


def test_a_row_has_both_top_1_the_size_and_the_official_file(tmp_path: Path) -> None:
    output = run("swin_tiny*ms_in1k", "--model-store", tmp_path).output
    row = next(line for line in output.splitlines() if line.startswith("swin_tiny"))
    assert row.split() == [
        *("swin_tiny_patch4_window7_224.ms_in1k", "81.2", "81.39", "224", "28.29", "M", "4.49", "G"),
        "swin_tiny_patch4_window7_224.pth",
    ]


@pytest.mark.parametrize("columns", [80, 160])
def test_no_name_is_broken_in_two(columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "COLUMNS_WITHOUT_TERMINAL", columns)
    lines = run("--model-store", tmp_path).output.splitlines()
    assert max(map(len, lines)) <= columns
    words = {word for line in lines for word in line.split()}
    assert set(NAMES) <= words
    files = {checkpoint.file for checkpoint in released.checkpoints() if checkpoint.file}
    assert columns == 80 or files <= words


def test_narrow_tables_show_timms_top_1_else_the_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "COLUMNS_WITHOUT_TERMINAL", 80)
    rows = [line.split() for line in run("--model-store", tmp_path).output.splitlines()]
    assert ["swin_tiny_patch4_window7_224.ms_in1k", "81.39", "224", "4.49", "G"] in rows
    assert ["shunted_tiny", "79.8", "224", "2.15", "G"] in rows


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("shunted_*", ["shunted_tiny", "shunted_small", "shunted_base"]),
        ("*_small", ["shunted_small"]),
        ("b2", ["pvt_v2_b2.in1k", "pvt_v2_b2_li.in1k"]),
        ("ckpt_T", ["shunted_tiny"]),
        ("swin_large_patch4_window7_224_22k.pth", ["swin_large_patch4_window7_224.ms_in22k"]),
    ],
)
def test_a_pattern_picks_names_and_files(pattern: str, expected: list[str], tmp_path: Path) -> None:
    assert [found["name"] for found in objects(run(pattern, "--json", "--model-store", tmp_path))] == expected


def test_a_pattern_without_a_match_says_where_to_look_on(shelf: Path) -> None:
    assert "--all looks through" in run("beit", "--model-store", shelf, expect=2).output
    assert f"in {shelf}" in run("shunted", "--built", "--model-store", shelf, expect=2).output
    assert "timm has no model 'qqq'" in run("qqq", "--all", expect=2).output


def test_what_is_built_stands_below_what_can_be(shelf: Path) -> None:
    output = run("--model-store", shelf).output
    assert output.index("convnext_base") < output.index(f"Built, in {shelf}") < output.index("tiny@1.0")


def test_built_lists_archives_alone(shelf: Path) -> None:
    output = run("--built", "--model-store", shelf).output
    row = next(line for line in output.splitlines() if line.startswith("tiny@1.0"))
    size = f"{(shelf / 'tiny-1.0.mar').stat().st_size / 1e6:.1f}"
    assert row.split()[:6] == ["tiny@1.0", "64", "5", "random", size, "MB"]
    assert row.split()[-1] == "swin_tiny_patch4_window7_224"
    assert "ms_in1k" not in output


def test_an_archive_that_cannot_be_served_says_why_and_hides_no_other(shelf: Path) -> None:
    output = run("--built", "--model-store", shelf).output
    assert "noise-1.0.mar: this is no complete model archive: build it again" in output
    assert "tiny@1.0" in output
    assert "unfinished" not in output


def test_versions_are_ordered_as_numbers(tiny_archive: Path, tmp_path: Path) -> None:
    for version in ("1.10", "1.9", "1.2"):
        with_manifest(tiny_archive, tmp_path / f"tiny-{version}.mar", version=version)
    found = objects(run("--built", "--json", "--model-store", tmp_path))
    assert [archive["name"] for archive in found] == ["tiny@1.2", "tiny@1.9", "tiny@1.10"]


def test_an_empty_model_store_says_how_to_begin(tmp_path: Path) -> None:
    for store in (tmp_path, tmp_path / "nowhere"):
        assert "begin with: swinserve build swin_digits" in run("--built", "--model-store", store).output
    assert "Nothing is built" not in run("shunted", "--model-store", tmp_path).output


def test_json_has_an_object_a_line_of_both_kinds(shelf: Path) -> None:
    found = objects(run("--json", "--model-store", shelf))
    assert [one["name"] for one in found if one["kind"] == "released"] == NAMES
    built = {one["name"]: one for one in found if one["kind"] == "built"}
    assert built["tiny@1.0"]["manifest"]["num_classes"] == 5
    assert built["tiny@1.0"]["bytes"] == (shelf / "tiny-1.0.mar").stat().st_size
    assert built["noise-1.0.mar"]["manifest"] is None
    assert "no complete model archive" in built["noise-1.0.mar"]["problem"]


def test_all_is_every_name_of_timm_and_ours_one_a_line() -> None:
    lines = run("--all").output.splitlines()
    assert {"swin_digits", "shunted_tiny", "resnet50"} < set(lines)
    assert lines[1:] == timm.list_models()
    assert run("swinv2_t*", "--all").output.split() == timm.list_models("swinv2_t*")


def test_all_and_built_exclude_each_other() -> None:
    assert "exclude each other" in run("--all", "--built", expect=2).output


def test_the_table_needs_no_torch(shelf: Path) -> None:
    script = (
        "import sys; from swin_handler.build.models import models;"
        f"models(['--model-store', {str(shelf)!r}], standalone_mode=False);"
        "heavy = {'torch', 'timm', 'numpy', 'PIL'} & sys.modules.keys(); assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "tiny@1.0" in result.stdout
