from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import swin_proto
from swin_handler.config import CONTRACT_VERSION, HandlerConfig, Manifest
from swin_handler.errors import BadArchive, ImageError
from swin_proto.worker.v1 import job_pb2


def test_the_contract_version_is_that_of_the_messages() -> None:
    assert swin_proto.CONTRACT_VERSION == CONTRACT_VERSION


def test_every_error_kind_is_one_of_the_messages_and_none_is_missing() -> None:
    ours = {error.kind for error in ImageError.__subclasses__()}
    assert ours == set(job_pb2.Error.Kind.keys()) - {"KIND_UNSPECIFIED"}


def test_a_full_section_is_parsed() -> None:
    config = HandlerConfig.parse({"backend": "eager", "dtype": "float32", "batch_buckets": [1, 3], "threads": 2})
    assert config == HandlerConfig(backend="eager", dtype="float32", batch_buckets=(1, 3), threads=2)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"bakend": "eager"}, "unknown bakend; known are backend"),
        ({"backend": "tensorrt"}, "backend must be one of auto, eager, inductor"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"batch_buckets": []}, "batch_buckets must be ascending"),
        ({"batch_buckets": [4, 2]}, "batch_buckets must be ascending"),
        ({"batch_buckets": [0, 1]}, "batch_buckets must be ascending"),
        ({"batch_buckets": 8}, "batch_buckets must be ascending"),
        ({"threads": -1}, "threads must be a whole number from 0 up"),
        ({"threads": True}, "threads must be"),
        ({"max_pixels": 0}, "max_pixels must be a whole number from 1 up"),
    ],
)
def test_a_wrong_option_is_refused_by_name(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadArchive, match=complaint):
        HandlerConfig.parse(section)


def changed(manifest: Manifest, folder: Path, **values: Any) -> Path:
    content = {**dataclasses.asdict(manifest), **values}
    (folder / "swinserve.json").write_text(json.dumps({key: v for key, v in content.items() if v is not None}))
    return folder


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"schema_version": 2}, "schema_version 2, this handler needs 1: build it again"),
        ({"contract_version": 9}, "contract_version 9, this handler needs 1"),
        ({"surprise": 1}, "unknown surprise"),
        ({"weights_sha256": None}, "lacks weights_sha256"),
    ],
)
def test_another_manifest_is_refused_in_one_line(
    manifest: Manifest, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadArchive, match=complaint):
        Manifest.read(changed(manifest, tmp_path, **values))


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "swinserve.json").write_text("{")
    with pytest.raises(BadArchive, match=r"swinserve\.json cannot be read"):
        Manifest.read(tmp_path)
