"""swinserve.json and the `handler` section of model-config.yaml -> frozen, typed configuration.

Unknown keys are refused by name: a misspelt option that is silently ignored costs an evening.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from swin_handler.errors import BadArchive
from swin_handler.tuning import Record

CONTRACT_VERSION = 4
"""Version of the job and answer (job.proto); a test holds it equal to swin_proto.CONTRACT_VERSION."""
SCHEMA_VERSION = 3
"""Version of the archive's layout, that is of swinserve.json."""

BACKENDS = (
    *("auto", "native", "inductor", "openvino", "eager"),
    *("inductor-sdpa", "inductor-flex", "triton", "graphs"),
)
"""The last line's are for GPUs, native and openvino for CPUs, inductor and eager for both."""
DTYPES = ("auto", "float32", "bfloat16", "int8")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's names of the image types that can be taken."""


@dataclass(frozen=True)
class HandlerConfig:
    """How the worker runs the model. 0 means: chosen from the machine."""

    backend: str = "auto"
    dtype: str = "auto"
    batch_buckets: tuple[int, ...] = (1, 2, 4, 8)
    """Batch sizes that are compiled and warmed, ascending."""
    decode_threads: int = 0
    threads: int = 0
    """Threads of one forward pass."""
    max_pixels: int = 50_000_000
    """Images of more pixels are refused from their header."""
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP")
    """Image types that are taken, of FORMATS; Pillow is asked for no other."""
    max_frames: int = 1000
    """Images that announce more are refused; the first is what is answered."""
    decode_seconds: float = 5.0
    """CPU time after which an image is given up."""
    decode_memory_mb: int = 1280
    """MiB that all images being decoded may take together; they wait for each other."""
    scaled_decode: bool = True
    """Decode large JPEGs at a fraction of their size and resize by torch; False: decode whole, timm's exact pixels."""

    @classmethod
    def parse(cls, section: Mapping[str, Any]) -> Self:
        """Raises BadArchive naming the key that is unknown, of the wrong type or out of range."""
        values = dict(section)
        _refuse_keys(values, {f.name for f in fields(cls)}, "model-config.yaml, section handler")
        for name in ("batch_buckets", "formats"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        config = cls(**values)
        config._check()
        return config

    def as_yaml(self) -> dict[str, Any]:
        """Of plain types, as `parse` takes it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def _check(self) -> None:
        _require(self.backend in BACKENDS, f"backend must be one of {', '.join(BACKENDS)}, not {self.backend!r}")
        _require(self.dtype in DTYPES, f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")
        buckets = self.batch_buckets
        _require(
            isinstance(buckets, tuple)
            and bool(buckets)
            and all(_is_int(b, 1) for b in buckets)
            and list(buckets) == sorted(set(buckets)),
            f"batch_buckets must be ascending whole numbers from 1 up, not {buckets!r}",
        )
        least_of = {"decode_threads": 0, "threads": 0, "max_pixels": 1, "max_frames": 1, "decode_memory_mb": 1}
        for name, least in least_of.items():
            value = getattr(self, name)
            _require(_is_int(value, least), f"{name} must be a whole number from {least} up, not {value!r}")
        _require(
            isinstance(self.scaled_decode, bool), f"scaled_decode must be true or false, not {self.scaled_decode!r}"
        )
        _require(
            isinstance(self.formats, tuple) and bool(self.formats) and all(name in FORMATS for name in self.formats),
            f"formats must be some of {', '.join(FORMATS)}, not {self.formats!r}",
        )
        seconds = self.decode_seconds
        _require(
            isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < float("inf"),
            f"decode_seconds must be a number above 0, not {seconds!r}",
        )


@dataclass(frozen=True)
class Abilities:
    """What a model can give beside logits."""

    embedding_size: int = 0
    """0: none"""
    activation_map: tuple[int, int] | None = None
    """(height, width); None: its logits are not the mean of one"""


@dataclass(frozen=True)
class Manifest:
    """swinserve.json: what the archive holds; the gateway reads the same keys without torch."""

    schema_version: int
    contract_version: int
    name: str
    version: str
    architecture: str
    input_size: tuple[int, int, int]
    """(channels, height, width)"""
    num_classes: int
    """0: no head, it serves embeddings alone"""
    embedding_size: int
    """0: it has no embedding to give"""
    activation_map: tuple[int, int] | None
    """(height, width); None: its logits are not the mean of a class activation map"""
    parameters: int
    multiply_adds: int
    """Of one image."""
    weights: str
    """Where they come from, in words; random weights are named so."""
    weights_sha256: str
    batch_buckets: tuple[int, ...]
    batch_size: int
    workers: int
    backend: str
    dtype: str
    engine: Record
    """Which backend serves each batch bucket, and how that was found out."""
    created_with: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises BadArchive when the file is missing, malformed or of another schema version."""
        try:
            values = json.loads((folder / "swinserve.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadArchive(f"swinserve.json cannot be read: {error}") from error
        return cls.parse(values)

    @classmethod
    def parse(cls, values: Any) -> Self:
        _require(isinstance(values, dict), "swinserve.json must hold one object")
        # The version first: under another version other keys are no surprise.
        for key, ours in (("schema_version", SCHEMA_VERSION), ("contract_version", CONTRACT_VERSION)):
            theirs = values.get(key)
            _require(theirs == ours, f"the archive has {key} {theirs}, this handler needs {ours}: build it again")
        names = {f.name for f in fields(cls)}
        _refuse_keys(values, names, "swinserve.json")
        missing = sorted(names - values.keys())
        _require(not missing, f"swinserve.json lacks {', '.join(missing)}")
        lists = ("input_size", "batch_buckets", "activation_map")
        tuples = {key: tuple(values[key]) for key in lists if isinstance(values[key], list)}
        try:
            record = Record.parse(values["engine"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadArchive(f"swinserve.json: engine is no tuning record: {error}") from error
        manifest = cls(**{**values, **tuples, "engine": record})
        manifest._check()
        return manifest

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "engine": self.engine.as_json()}

    @property
    def abilities(self) -> Abilities:
        return Abilities(self.embedding_size, self.activation_map)

    def _check(self) -> None:
        size = self.activation_map
        for name in ("num_classes", "embedding_size"):
            value = getattr(self, name)
            _require(_is_int(value, 0), f"swinserve.json: {name} must be a whole number from 0 up, not {value!r}")
        _require(
            size is None or (isinstance(size, tuple) and len(size) == 2 and all(_is_int(edge, 1) for edge in size)),
            f"swinserve.json: activation_map must be null or [height, width], not {size!r}",
        )
        _require(self.num_classes + self.embedding_size > 0, "swinserve.json: neither classes nor an embedding")
        _require(size is None or self.num_classes > 0, "swinserve.json: activation_map without a class")


def _refuse_keys(values: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(str(key) for key in values if key not in known)
    _require(not unknown, f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise BadArchive(message)


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
