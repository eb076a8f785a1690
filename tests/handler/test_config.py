from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import swin_proto
from swin_handler.config import CONTRACT_VERSION, Abilities, HandlerConfig, Manifest
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
        ({"backend": "tensorrt"}, "backend must be one of auto, native, inductor, openvino, eager"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"batch_buckets": []}, "batch_buckets must be ascending"),
        ({"batch_buckets": [4, 2]}, "batch_buckets must be ascending"),
        ({"batch_buckets": [0, 1]}, "batch_buckets must be ascending"),
        ({"batch_buckets": 8}, "batch_buckets must be ascending"),
        ({"threads": -1}, "threads must be a whole number from 0 up"),
        ({"threads": True}, "threads must be"),
        ({"max_pixels": 0}, "max_pixels must be a whole number from 1 up"),
        ({"scaled_decode": 1}, "scaled_decode must be true or false, not 1"),
        ({"formats": ["HEIC"]}, "formats must be some of JPEG, PNG, WEBP, GIF, BMP, TIFF, not"),
        ({"formats": []}, "formats must be some of"),
        ({"formats": "PNG"}, "formats must be some of"),
        ({"max_frames": 0}, "max_frames must be a whole number from 1 up"),
        ({"decode_seconds": 0}, "decode_seconds must be a number above 0, not 0"),
        ({"decode_seconds": float("inf")}, "decode_seconds must be"),
        ({"decode_seconds": "5"}, "decode_seconds must be"),
        ({"decode_memory_mb": 0.5}, "decode_memory_mb must be a whole number from 1 up"),
    ],
)
def test_a_wrong_option_is_refused_by_name(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadArchive, match=complaint):
        HandlerConfig.parse(section)


ABSENT = object()


def changed(manifest: Manifest, folder: Path, **values: Any) -> Path:
    content = {**dataclasses.asdict(manifest), **values}
    (folder / "swinserve.json").write_text(json.dumps({key: v for key, v in content.items() if v is not ABSENT}))
    return folder


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"schema_version": 2}, "schema_version 2, this handler needs 3: build it again"),
        ({"contract_version": 9}, f"contract_version 9, this handler needs {CONTRACT_VERSION}"),
        ({"surprise": 1}, "unknown surprise"),
        ({"weights_sha256": ABSENT}, "lacks weights_sha256"),
        ({"activation_map": ABSENT}, "lacks activation_map"),
        ({"activation_map": [7]}, r"activation_map must be null or \[height, width\], not \(7,\)"),
        ({"activation_map": [7, 0]}, "activation_map must be null or"),
        ({"activation_map": 7}, "activation_map must be null or"),
        ({"engine": None}, "engine is no tuning record"),
        ({"engine": {"machine": {}}}, "engine is no tuning record"),
        ({"embedding_size": None}, "embedding_size must be a whole number from 0 up, not None"),
        ({"num_classes": -1}, "num_classes must be a whole number from 0 up"),
        ({"num_classes": 0}, "activation_map without a class"),
        ({"num_classes": 0, "embedding_size": 0}, "neither classes nor an embedding"),
    ],
)
def test_another_manifest_is_refused_in_one_line(
    manifest: Manifest, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadArchive, match=complaint):
        Manifest.read(changed(manifest, tmp_path, **values))


def test_a_manifest_says_what_the_model_can_give(manifest: Manifest, tmp_path: Path) -> None:
    assert Manifest.read(changed(manifest, tmp_path)).abilities == Abilities(48, (8, 8))
    plain = Manifest.read(changed(manifest, tmp_path, embedding_size=0, activation_map=None))
    assert plain.abilities == Abilities(0, None)
    headless = Manifest.read(changed(manifest, tmp_path, num_classes=0, activation_map=None))
    assert headless.abilities == Abilities(48, None)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "swinserve.json").write_text("{")
    with pytest.raises(BadArchive, match=r"swinserve\.json cannot be read"):
        Manifest.read(tmp_path)
