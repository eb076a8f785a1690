"""`swinserve info`, called as the command line calls it."""

from __future__ import annotations

import json
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from swin_handler.build import command, info, table
from tests.handler.altered_archive import with_manifest

TINY = "swin_tiny_patch4_window7_224"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("info must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def run(*arguments: str | Path, expect: int = 0) -> Result:
    result = CliRunner().invoke(info.info, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result


def told(*arguments: str | Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(run(*arguments, "--json").output)
    return parsed


def lines(*arguments: str | Path) -> list[str]:
    """Of the page, with single spaces."""
    return [" ".join(line.split()) for line in run(*arguments).output.splitlines()]


def test_a_swin_is_described_stage_by_stage(tmp_path: Path) -> None:
    about = told(f"{TINY}.ms_in1k", "--model-store", tmp_path)
    assert (about["parameters"], about["multiply_adds"]) == (28_288_354, 4_494_405_120)
    assert [part["name"] for part in about["parts"]] == ["patch_embed", *(f"stage {n}" for n in range(1, 5)), "head"]
    assert sum(part["multiply_adds"] for part in about["parts"]) == about["multiply_adds"]
    first = about["parts"][1]["windows"]
    assert (first["map_size"], first["window"]) == ([56, 56], [7, 7])
    # Two blocks of Ω(W-MSA) and Ω(MSA) with h = w = 56, M = 7, C = 96.
    assert first["windowed"] == 2 * (4 * 56 * 56 * 96**2 + 2 * 7**2 * 56 * 56 * 96)
    assert first["everywhere"] == 2 * (4 * 56 * 56 * 96**2 + 2 * (56 * 56) ** 2 * 96)
    assert about["family"].startswith("Swin V1")
    assert about["num_classes"] == len(about["labels"]) == 1000
    assert about["sources"][0] == f"hub timm/{TINY}.ms_in1k"
    assert about["licence"] == "mit"


def test_the_page_says_how_many_times_less_windows_cost(tmp_path: Path) -> None:
    output = run(TINY, "--model-store", tmp_path).output
    rows = [line.split() for line in output.splitlines() if line.startswith(("stage", "whole"))]
    assert ["stage", "1", "56×56", "7×7", "290.22", "M", "4.01", "G", "13.8×"] in rows
    assert ["stage", "4", "7×7", "7×7", "238.59", "M", "238.59", "M", "1.0×"] in rows
    assert ["whole", "1.53", "G", "5.82", "G", "3.8×"] in rows
    assert ["whole", "4.49", "G"] in rows


def test_a_name_without_tag_means_timms_default_tag(tmp_path: Path) -> None:
    assert told(TINY, "--model-store", tmp_path) == told(f"{TINY}.ms_in1k", "--model-store", tmp_path)


def test_top_1_has_its_source(tmp_path: Path) -> None:
    both = "top-1 ImageNet-1k: 81.2 % (the authors), 81.388 % (timm's results)"
    assert both in lines(TINY, "--model-store", tmp_path)
    assert "top-1 ImageNet-1k: 79.8 % (the authors)" in lines("shunted_tiny", "--model-store", tmp_path)
    assert "top-1 99.56 % of 450 held-out digits" in lines("swin_digits", "--model-store", tmp_path)
    assert not [line for line in lines("resnet26", "--model-store", tmp_path) if "top-1" in line]


def test_timms_weights_are_served_with_timms_preprocessing_and_the_authors_is_beside_it(tmp_path: Path) -> None:
    about = told(TINY, "--model-store", tmp_path)
    assert about["preprocessing"]["words"] == "short side to 248 (bicubic), middle 224×224"
    assert about["preprocessing"]["crop_pct"] == 0.9
    assert about["other_preprocessing"] == {"the authors": "short side to 256 (bicubic), middle 224×224"}


def test_an_official_file_is_served_with_the_authors_preprocessing_and_timms_is_beside_it(tmp_path: Path) -> None:
    about = told("downloads/swin_base_patch4_window12_384.pth", "--model-store", tmp_path)
    assert about["name"] == "swin_base_patch4_window12_384.pth"
    assert about["released"]["top1_official"] == 84.5
    assert about["preprocessing"]["words"] == "squashed to 384×384 (bicubic)"
    assert about["other_preprocessing"] == {"timm": "short side to 384 (bicubic), middle 384×384"}


def test_22k_weights_have_their_own_labels(tmp_path: Path) -> None:
    about = told("swinv2_base_patch4_window12_192_22k.pth", "--model-store", tmp_path)
    assert about["num_classes"] == len(about["labels"]) == 21841
    assert about["released"]["top1_official"] is None


def test_shunted_comes_from_the_authors_file_alone(tmp_path: Path) -> None:
    about = told("shunted_small", "--model-store", tmp_path)
    assert about["family"].startswith("Shunted")
    assert about["sources"][0] == "file ckpt_S.pth"
    assert about["other_preprocessing"] == {}, "both crop 224 of 256"
    assert {part["windows"] for part in about["parts"]} == {None}


def test_any_classifier_of_timm_is_described(tmp_path: Path) -> None:
    about = told("resnet50", "--model-store", tmp_path)
    assert (about["name"], about["family"]) == ("resnet50.a1_in1k", "ResNet")
    assert [part["name"] for part in about["parts"]] == ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert about["multiply_adds"] == 4_089_184_256
    # Its attention pooling is called with a parameter, over which torch's counter trips if that wants a gradient.
    assert told("test_vit3", "--model-store", tmp_path)["multiply_adds"] == 94_051_200


def test_a_model_without_a_head_says_so(tmp_path: Path) -> None:
    assert "no head, it gives embeddings alone" in run("vit_small_patch16_224.dino", "--model-store", tmp_path).output


def test_weights_that_nobody_publishes_are_told(tmp_path: Path) -> None:
    about = told("vit_large_patch14_224", "--model-store", tmp_path)
    assert about["sources"] == ["none published: build it with --checkpoint FILE or --random-weights"]


def test_the_built_in_model_has_its_own_size_and_labels(tmp_path: Path) -> None:
    about = told("swin_digits", "--model-store", tmp_path)
    assert (about["parameters"], about["labels"][:2]) == (236_692, ["zero", "one"])
    assert about["preprocessing"]["input_size"] == [3, 32, 32]
    assert about["sources"] == ["built-in swin_digits"]
    assert about["released"]["trained_on"] == "digits"


def test_an_archive_is_described_from_what_it_holds(tiny_archive: Path) -> None:
    about = told("tiny@1.0", "--model-store", tiny_archive.parent)
    assert about["name"] == "tiny@1.0"
    assert about["architecture"] == TINY
    assert about["labels"] == ["cat", "crane", "dog", "crane", "owl"]
    assert about["preprocessing"]["words"] == "short side to 71 (bicubic), middle 64×64"
    assert about["sources"] == ["random"]
    assert (about["parameters"], about["multiply_adds"]) == (
        about["manifest"]["parameters"],
        about["manifest"]["multiply_adds"],
    )


@pytest.mark.parametrize(("maps", "words"), [([8, 8], "8×8, exact"), (None, "none: no class logit is the mean of one")])
def test_what_an_archive_can_give_is_told_from_its_manifest(
    tiny_archive: Path, tmp_path: Path, maps: list[int] | None, words: str
) -> None:
    with_manifest(tiny_archive, tmp_path / "tiny-1.0.mar", activation_map=maps, embedding_size=48)
    page = lines("tiny@1.0", "--model-store", tmp_path)
    assert f"activation map {words}" in page
    assert "embedding 48 numbers" in page


def test_an_archive_is_found_by_path_by_version_and_by_its_own_name(tiny_archive: Path, tmp_path: Path) -> None:
    for version in ("1.9", "1.10"):
        with_manifest(tiny_archive, tmp_path / f"tiny-{version}.mar", version=version)
    assert told(tmp_path / "tiny-1.9.mar")["name"] == "tiny@1.9"
    assert told("tiny@1.9", "--model-store", tmp_path)["name"] == "tiny@1.9"
    assert told("tiny", "--model-store", tmp_path)["name"] == "tiny@1.10", "the newest"


def test_what_is_built_of_an_architecture_is_named(tiny_archive: Path) -> None:
    assert told(TINY, "--model-store", tiny_archive.parent)["built"] == ["tiny@1.0"]
    assert told("swin_digits", "--model-store", tiny_archive.parent)["built"] == []


@pytest.mark.parametrize(
    ("changes", "top1"),
    [({}, 70.656), ({"input_size": [3, 288, 288]}, None), ({"num_classes": 10}, None), ({"weights": "random"}, None)],
)
def test_published_figures_follow_weights_from_the_hub_that_are_served_as_they_were_measured(
    changes: dict[str, Any], top1: float | None, pvt: Path, tmp_path: Path
) -> None:
    with_manifest(pvt, tmp_path / "pvt_v2_b0-1.0.mar", **{"weights": "hub timm/pvt_v2_b0.in1k", **changes})
    released = told("pvt_v2_b0@1.0", "--model-store", tmp_path)["released"]
    assert (released and released["top1_timm"]) == top1


@pytest.fixture(scope="module")
def pvt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pvt")
    build = ["pvt_v2_b0", "--random-weights", "--model-store", str(folder)]
    assert CliRunner().invoke(command.build, build).exit_code == 0
    return folder / "pvt_v2_b0-1.0.mar"


def test_a_file_of_ones_own_is_told_from_a_released_one(tmp_path: Path) -> None:
    assert "`swinserve build MODEL --checkpoint mine.pth`" in " ".join(run("mine.pth", expect=2).output.split())


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("swin_tinny_patch4_window7_224", f"Did you mean {TINY}"),
        (f"{TINY}.nobody", f"Did you mean {TINY}.ms_in1k"),
        ("tiny@2.0", "has no tiny@2.0; it has noise-1.0.mar, tiny@1.0"),
        ("tiny@", "has no tiny@; it has"),
        ("nowhere/no.mar", "no.mar cannot be read: No such file or directory"),
        ("noise@1.0", "noise-1.0.mar: this is no complete model archive: build it again"),
    ],
)
def test_a_name_that_nothing_has_is_refused(name: str, complaint: str, tiny_archive: Path, tmp_path: Path) -> None:
    with_manifest(tiny_archive, tmp_path / "tiny-1.0.mar")
    (tmp_path / "noise-1.0.mar").write_bytes(b"noise")
    assert complaint in run(name, "--model-store", tmp_path, expect=2).output


def test_an_archive_without_its_configuration_is_refused(tiny_archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tiny_archive) as original, zipfile.ZipFile(tmp_path / "half-1.0.mar", "w") as copy:
        copy.writestr("swinserve.json", original.read("swinserve.json"))
    output = run(tmp_path / "half-1.0.mar", expect=2).output
    assert "no complete model archive" in output


def test_the_page_fits_eighty_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "COLUMNS_WITHOUT_TERMINAL", 80)
    for name in ("swinv2_large_window12to24_192to384", "shunted_base", "swin_digits"):
        assert max(map(len, run(name, "--model-store", tmp_path).output.splitlines())) <= 80
