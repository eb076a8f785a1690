"""Image files and model archives made by hand, so that a test says what is wrong with them."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

from swin_gateway.archive import Archive, Manifest
from swin_proto import CONTRACT_VERSION

LABELS = ("zero", "one", "two")
WEIGHTS = b"not read by the gateway, only summed" * 100


def encoded(image_format: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    """A small grey image file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (128, 128, 128)).save(buffer, image_format)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose (correctly summed) header claims any size."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"\0" * 10)),
            (b"IEND", b""),
        )
    )


def engine_record(**changes: Any) -> dict[str, Any]:
    """The tuning record of a model for which nothing was timed, with changes."""
    return {
        "machine": {"device": "cpu", "hardware": "a CPU with avx2", "torch": "2.11.0", "threads": 2},
        "dtype": "float32",
        "tolerance": 1e-4,
        "choice": {"1": "eager", "2": "eager"},
        "timings": [],
        "refused": {},
        "files": {"probe.safetensors": "0" * 64},
    } | changes


def timing(backend: str, bucket: int, best_seconds: float) -> dict[str, Any]:
    return {
        "backend": backend,
        "bucket": bucket,
        "best_seconds": best_seconds,
        "median_seconds": 2 * best_seconds,
        "relative_l2": 1e-6,
    }


TIMED: dict[str, Any] = {
    "choice": {"1": "native", "2": "eager"},
    "timings": [
        timing("native", 1, 0.004),
        timing("eager", 1, 0.005),
        timing("native", 2, 0.009),
        timing("eager", 2, 0.008),
    ],
}
"""Changes of a tuning record for which two backends were timed."""


def manifest(**changes: Any) -> dict[str, Any]:
    """swinserve.json of a small model, with changes."""
    return {
        "schema_version": 3,
        "contract_version": CONTRACT_VERSION,
        "name": "digits",
        "version": "1.0",
        "architecture": "swin_nano",
        "input_size": [3, 32, 64],
        "num_classes": len(LABELS),
        "embedding_size": 4,
        "activation_map": [2, 3],
        "parameters": 240_000,
        "multiply_adds": 5_000_000_000,  # more than 32 bits hold
        "weights": "random",
        "weights_sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "batch_buckets": [1, 2],
        "batch_size": 2,
        "workers": 1,
        "backend": "eager",
        "dtype": "float32",
        "engine": engine_record(),
        "created_with": {"timm": "1.0.0"},
    } | changes


HEADLESS: dict[str, Any] = {"num_classes": 0, "activation_map": None, "labels": ()}
"""Changes that make a model without classes."""


def write_archive(
    path: Path,
    *,
    leave_out: str = "",
    members: dict[str, bytes] | None = None,
    labels: tuple[str, ...] = LABELS,
    **changes: Any,
) -> Path:
    """A .mar with the manifest's `changes`, without the member `leave_out`, other `members` in the place of its own."""
    content = {
        "swinserve.json": json.dumps(manifest(**changes)).encode(),
        "labels.json": json.dumps(labels).encode(),
        "model.safetensors": WEIGHTS,
    } | (members or {})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            if name != leave_out:
                archive.writestr(name, data)
    return path


def archive_of(
    name: str = "digits", version: str = "1.0", *, labels: tuple[str, ...] = LABELS, **changes: Any
) -> Archive:
    """What `read_archive` would return, without a file."""
    return Archive(
        Path("/nowhere") / f"{name}.mar", Manifest(**manifest(name=name, version=version, **changes)), labels
    )
