from __future__ import annotations

import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from swin_gateway.archive import find_archives, read_archive
from swin_gateway.errors import StartError
from swin_handler import tuning

from .samples import HEADLESS, LABELS, TIMED, WEIGHTS, engine_record, manifest, timing, write_archive


def test_an_archive_says_what_was_written_into_it(tmp_path: Path) -> None:
    archive = read_archive(write_archive(tmp_path / "a.mar"))
    assert archive.identity == "digits@1.0"
    assert archive.labels == LABELS
    assert archive.manifest.input_size == (3, 32, 64)
    assert archive.manifest.batch_buckets == (1, 2)
    assert (archive.manifest.embedding_size, archive.manifest.activation_map) == (4, (2, 3))
    assert archive.path == tmp_path / "a.mar"


def test_an_archive_s_card_says_what_people_want_to_know_and_an_earlier_one_has_none(tmp_path: Path) -> None:
    facts = {"preprocessing": "short side to 32", "accuracy": "99 %", "licence": "apache-2.0"}
    card = {"card.json": json.dumps(facts).encode()}
    assert read_archive(write_archive(tmp_path / "a.mar", members=card)).card.model_dump() == facts
    assert set(read_archive(write_archive(tmp_path / "b.mar")).card.model_dump().values()) == {""}


def test_the_tuning_record_is_read_as_the_builder_writes_it(tmp_path: Path) -> None:
    written = tuning.Record(
        machine=tuning.Machine(device="cpu", hardware="avx512_bf16", torch="2.11.0", threads=2),
        dtype="bfloat16",
        tolerance=0.02,
        choice={1: "native", 8: "inductor"},
        timings=(
            tuning.Timing("native", 1, best_seconds=0.004, median_seconds=0.005, relative_l2=0.0),
            tuning.Timing("inductor", 8, best_seconds=0.03, median_seconds=0.04, relative_l2=0.003),
        ),
        refused={"openvino": "is not installed"},
        files={"inductor/8.pt2": "0" * 64},
    )
    read = read_archive(write_archive(tmp_path / "a.mar", engine=written.as_json())).manifest.engine
    assert read.model_dump(mode="json") == json.loads(json.dumps(written.as_json()))
    assert read.choice == {1: "native", 8: "inductor"}


def test_a_model_without_classes_has_no_labels(tmp_path: Path) -> None:
    archive = read_archive(write_archive(tmp_path / "a.mar", **HEADLESS))
    assert (archive.labels, archive.manifest.num_classes, archive.manifest.activation_map) == ((), 0, None)


def test_a_model_may_have_neither_embedding_nor_maps(tmp_path: Path) -> None:
    archive = read_archive(write_archive(tmp_path / "a.mar", embedding_size=0, activation_map=None))
    assert (archive.manifest.embedding_size, archive.manifest.activation_map) == (0, None)


@pytest.mark.parametrize("key", ["embedding_size", "activation_map", "engine"])
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    facts = manifest()
    del facts[key]
    path = write_archive(tmp_path / "a.mar", members={"swinserve.json": json.dumps(facts).encode()})
    with pytest.raises(StartError, match=f"{key}: Field required"):
        read_archive(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 1}, "schema_version 1, this gateway speaks 3"),
        ({"contract_version": 99}, "contract_version 99, this gateway speaks"),
        ({"weights_sha256": "0" * 64}, "do not match their SHA-256"),
        ({"num_classes": 10}, "3 labels for 10 classes"),
        ({"input_size": "square"}, "no complete model archive"),
        ({"colour": "grey"}, "no complete model archive (colour: "),
        ({"num_classes": -1}, "no complete model archive (num_classes: "),
        ({"embedding_size": -1}, "no complete model archive (embedding_size: "),
        ({"activation_map": [0, 3]}, "no complete model archive (activation_map: "),
        ({"activation_map": [3]}, "no complete model archive (activation_map: "),
        (HEADLESS | {"embedding_size": 0}, "a model without classes has an embedding"),
        (HEADLESS | {"activation_map": [2, 3]}, "a model without classes has an embedding, and no activation map"),
        (HEADLESS | {"labels": ("zero",)}, "1 labels for 0 classes"),
        ({"engine": None}, "no complete model archive (engine: "),
        ({"engine": engine_record(colour="grey")}, "no complete model archive (engine.colour: "),
        ({"engine": engine_record(machine={"device": "cpu"})}, "(engine.machine.hardware: Field required"),
        ({"engine": engine_record(choice={"all": "eager"})}, "no complete model archive (engine.choice."),
        ({"engine": engine_record(timings=[timing("eager", 1, 0.0)])}, "(engine.timings.best_seconds: "),
        ({"engine": engine_record(timings=[timing("eager", 1, math.inf)])}, "(engine.timings.best_seconds: "),
        ({"engine": engine_record(timings=[timing("eager", 0, 0.1)])}, "(engine.timings.bucket: "),
        ({"engine": engine_record(**TIMED, tolerance=math.nan)}, "(engine.tolerance: "),
        ({"leave_out": "swinserve.json"}, "swinserve.json"),
        ({"leave_out": "labels.json"}, "labels.json"),
        ({"leave_out": "model.safetensors"}, "model.safetensors"),
        ({"members": {"swinserve.json": b"{"}}, "no complete model archive"),
        ({"members": {"swinserve.json": b"\xff\xfe"}}, "no complete model archive"),
        ({"members": {"swinserve.json": b"[]"}}, "no complete model archive"),
        ({"members": {"labels.json": b"5"}}, "no complete model archive"),
    ],
)
def test_an_archive_that_does_not_fit_stops_the_start_with_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = write_archive(tmp_path / "a.mar", **changes)
    with pytest.raises(StartError, match=re.escape(said)) as refusal:
        read_archive(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "build it again" in str(refusal.value)


def test_damaged_weights_are_noticed(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.mar")
    path.write_bytes(path.read_bytes().replace(WEIGHTS, b"N" + WEIGHTS[1:]))
    with pytest.raises(StartError, match=r"CRC|SHA-256"):
        read_archive(path)


def test_damaged_compressed_weights_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.mar"
    with zipfile.ZipFile(write_archive(path, leave_out="model.safetensors"), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", WEIGHTS)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("model.safetensors").header_offset + 30 + len("model.safetensors")
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(StartError, match="no complete model archive"):
        read_archive(path)


def test_a_file_that_is_no_zip_and_one_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.mar").write_text("not a zip")
    with pytest.raises(StartError, match="no complete model archive"):
        read_archive(tmp_path / "a.mar")
    with pytest.raises(StartError, match=r"no model archive .*b\.mar$"):
        read_archive(tmp_path / "b.mar")
    with pytest.raises(StartError):
        read_archive(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name, version in (("digits", "1.9"), ("digits", "1.10"), ("digits", "1.10.rc1"), ("tiny", "2")):
        write_archive(tmp_path / f"{name}-{version}.mar", name=name, version=version)
    return tmp_path


def identities(names: list[str], store: Path) -> list[str]:
    return [archive.identity for archive in find_archives(names, store)]


def test_a_name_means_its_newest_version(store: Path) -> None:
    (store / "digits-1.10.rc1.mar").unlink()
    assert identities(["digits"], store) == ["digits@1.10"]


def test_a_version_can_be_named(store: Path) -> None:
    assert identities(["digits@1.9", "digits@1.10.rc1"], store) == ["digits@1.9", "digits@1.10.rc1"]


def test_archives_come_in_the_order_they_are_named(store: Path) -> None:
    assert identities(["tiny", "digits@1.9"], store) == ["tiny@2", "digits@1.9"]


def test_without_names_every_name_is_served_in_its_newest_version(store: Path) -> None:
    (store / "digits-1.10.rc1.mar").unlink()
    assert identities([], store) == ["digits@1.10", "tiny@2"]


def test_a_file_can_be_named_wherever_it_is(store: Path, tmp_path: Path) -> None:
    assert identities([str(store / "tiny-2.mar")], tmp_path / "empty") == ["tiny@2"]


@pytest.mark.parametrize("names", [["tiny", "tiny@2"], ["digits@1.9", "digits@1.9"]])
def test_a_model_named_twice_is_refused(store: Path, names: list[str]) -> None:
    with pytest.raises(StartError, match=f"{names[1]} is named twice"):
        find_archives(names, store)


@pytest.mark.parametrize("name", ["huge", "tiny@3"])
def test_a_model_that_was_not_built_is_refused_with_what_was(store: Path, name: str) -> None:
    with pytest.raises(StartError, match=f"no model archive of {name} .*tiny@2.*build it"):
        find_archives([name], store)


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="swinserve build"):
        find_archives([], tmp_path / "none")
    with pytest.raises(StartError, match="built: none"):
        find_archives(["digits"], tmp_path / "none")


@pytest.mark.parametrize("content", [b"not a zip", b"", json.dumps([]).encode()], ids=["no zip", "empty", "JSON list"])
def test_another_archive_that_is_broken_matters_only_when_it_would_be_served(store: Path, content: bytes) -> None:
    broken = store / "broken.mar"
    broken.write_bytes(content)
    if content == b"[]":
        write_archive(broken, members={"swinserve.json": content})
    assert identities(["tiny"], store) == ["tiny@2"]
    with pytest.raises(StartError, match=r"broken\.mar is no complete"):
        find_archives([], store)
