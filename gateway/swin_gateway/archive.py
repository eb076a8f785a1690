"""A model archive (.mar) on disk -> `Archive`: its manifest, labels, card and checksum, read without torch.

The builder (swin_handler.build) writes what is read here; docs/reference/model-archive.md describes it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Self

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from swin_gateway.engine_record import EngineRecord, Size
from swin_gateway.errors import StartError
from swin_proto import CONTRACT_VERSION

SCHEMA_VERSION = 3
CARD = "card.json"

# What a file that is no archive of ours makes zipfile, json and our reading of them raise.
BROKEN = (OSError, zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError, TypeError, AttributeError)


Count = Annotated[int, Ge(0)]


class Manifest(BaseModel):
    """swinserve.json inside an archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    contract_version: int
    name: str
    version: str
    architecture: str
    input_size: tuple[int, int, int]  # channels, height, width
    num_classes: Count
    """0 for a model without a head, which serves embeddings alone."""
    embedding_size: Count
    """0 if it has none to give."""
    activation_map: tuple[Size, Size] | None
    """(height, width) of a class activation map; None if the class logits are not the mean of one."""
    parameters: int
    multiply_adds: int
    weights: str
    weights_sha256: str
    batch_buckets: tuple[int, ...]
    batch_size: int
    workers: int
    backend: str
    dtype: str
    engine: EngineRecord
    created_with: dict[str, str]

    @model_validator(mode="after")
    def _serves_something(self) -> Self:
        if not self.num_classes and (not self.embedding_size or self.activation_map):
            raise ValueError("a model without classes has an embedding, and no activation map")
        return self

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.version}"


class Card(BaseModel):
    """card.json inside an archive: what people want to know of a model and no program acts on. Empty: not known."""

    model_config = ConfigDict(frozen=True)

    preprocessing: str = ""
    accuracy: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Archive:
    path: Path
    manifest: Manifest
    labels: tuple[str, ...]
    card: Card = field(default_factory=Card)

    @property
    def identity(self) -> str:
        return self.manifest.identity


def read_archive(path: Path) -> Archive:
    """Reads and checks one archive.

    Raises:
        StartError: no such file, no archive of ours, another schema or contract version, or a wrong checksum.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            versions = json.loads(archive.read("swinserve.json"))
            _check_versions(path, versions)
            manifest = Manifest.model_validate(versions)
            labels = tuple(json.loads(archive.read("labels.json")))
            card = _card(archive)
            with archive.open("model.safetensors") as weights:
                digest = _sha256(weights)
    except FileNotFoundError:
        raise StartError(f"no model archive {path}") from None
    except BROKEN as broken:
        reason = _first(broken) if isinstance(broken, ValidationError) else broken
        raise StartError(f"{path} is no complete model archive ({reason}); build it again") from None
    if digest != manifest.weights_sha256:
        raise StartError(f"{path}: the weights do not match their SHA-256 in the manifest; build it again")
    if len(labels) != manifest.num_classes:
        raise StartError(f"{path}: {len(labels)} labels for {manifest.num_classes} classes; build it again")
    return Archive(path, manifest, labels, card)


def _card(archive: zipfile.ZipFile) -> Card:
    """Archives of earlier builders have none."""
    return Card.model_validate_json(archive.read(CARD)) if CARD in archive.namelist() else Card()


def _first(invalid: ValidationError) -> str:
    error = invalid.errors(include_url=False)[0]
    keys = ".".join(part for part in error["loc"] if isinstance(part, str))
    return f"{keys}: {error['msg']}" if keys else error["msg"]


def _check_versions(path: Path, manifest: dict[str, object]) -> None:
    for key, ours in (("schema_version", SCHEMA_VERSION), ("contract_version", CONTRACT_VERSION)):
        if (theirs := manifest.get(key)) != ours:
            raise StartError(f"{path} has {key} {theirs}, this gateway speaks {ours}; build it again with this release")


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def find_archives(names: Iterable[str], store: Path) -> list[Archive]:
    """The archives that `swinserve serve NAMES` asks for, in that order; of each name in the store's order if none is
    given. A name alone means its newest version.

    Raises:
        StartError: a name or version that the store does not have, two archives of one identity, or a broken archive.
    """
    wanted = list(names)
    found = _identities(store, strict=not wanted)
    if not wanted:
        wanted = list(dict.fromkeys(name for name, _ in found.values()))
    if not wanted:
        raise StartError(f"no model archive in {store}; build one first: swinserve build swin_digits")
    archives = [read_archive(_resolve(name, found, store)) for name in wanted]
    if doubled := {a.identity for a in archives if sum(a.identity == b.identity for b in archives) > 1}:
        raise StartError(f"{', '.join(sorted(doubled))} is named twice")
    return archives


def _resolve(wanted: str, found: dict[Path, tuple[str, str]], store: Path) -> Path:
    if wanted.endswith(".mar"):
        return Path(wanted)
    name, _, version = wanted.partition("@")
    matching = [(v, path) for path, (n, v) in found.items() if n == name and version in ("", v)]
    if not matching:
        built = ", ".join(f"{n}@{v}" for n, v in found.values()) or "none"
        raise StartError(f"no model archive of {wanted} in {store} (built: {built}); build it: swinserve build {name}")
    return max(matching, key=lambda item: _version_key(item[0]))[1]


def _identities(store: Path, *, strict: bool) -> dict[Path, tuple[str, str]]:
    """(name, version) of each archive of the store; a broken one stops the start only if it would be served."""
    found = {}
    for path in sorted(store.glob("*.mar")):
        try:
            with zipfile.ZipFile(path) as archive:
                manifest = json.loads(archive.read("swinserve.json"))
                found[path] = str(manifest["name"]), str(manifest["version"])
        except BROKEN as broken:
            if strict:
                raise StartError(f"{path} is no complete model archive ({broken}); build it again") from None
    return found


def _version_key(version: str) -> list[tuple[int, str]]:
    """Orders 1.10 after 1.9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in version.split(".")]
