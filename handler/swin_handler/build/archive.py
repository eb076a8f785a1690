"""A classifier, labels and options -> `<name>-<version>.mar`: written whole, proven to answer, or not at all."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

import swin_handler
from swin_handler import model
from swin_handler.abilities import abilities
from swin_handler.build import tuner
from swin_handler.build.card import card
from swin_handler.build.classifier import Classifier
from swin_handler.build.errors import BuildRefused
from swin_handler.build.tuner import NO_IMAGES, Images
from swin_handler.config import CONTRACT_VERSION, SCHEMA_VERSION, HandlerConfig, Manifest
from swin_handler.engine import NormalisedModel
from swin_handler.errors import BadArchive
from swin_handler.models import multiply_adds
from swin_handler.tuning import UNTUNED

ENTRY = "swinserve_entry.py"
CARD = "card.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first moment: the same input gives the same bytes
_TOLERANCE = 1e-4
"""Relative L2 of a model and itself in an archive: above the rounding of folded constants, below any mistake."""
_RUN_TIME = (".", "engine", "kernels", "models")
"""Folders of swin_handler that a worker needs."""
_PACKAGES = ("swinserve", "torch", "timm", "torchvision", "safetensors")
_TORCHSERVE = {
    "maxBatchDelay": 1,  # milliseconds, always waited; 0 would mean TorchServe's default of 100
    "responseTimeout": 60,
    "startupTimeout": 600,  # seconds; compiling every batch bucket happens in here
    "maxRetryTimeoutInSec": 900,  # above startupTimeout, else one failed load is final
}


@dataclass(frozen=True)
class Options:
    name: str
    version: str
    batch_size: int
    workers: int
    backend: str
    dtype: str
    device: str
    tune: bool
    """Time every backend, which takes minutes, or take the safe default."""
    images: Images = NO_IMAGES
    """For int8."""
    scaled_decode: bool = True

    @property
    def batch_buckets(self) -> tuple[int, ...]:
        """Powers of two below the batch size, and the batch size."""
        powers = [1 << n for n in range(self.batch_size.bit_length()) if 1 << n < self.batch_size]
        return (*powers, self.batch_size)


def write(classifier: Classifier, labels: Sequence[str], options: Options, folder: Path) -> tuple[Path, Manifest]:
    """The archive's path and manifest. Raises BuildRefused for a model that is no plain image classifier."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{options.name}-{options.version}.mar"
    with tempfile.TemporaryDirectory(prefix="swinserve-build-") as scratch, _replacing(target) as unfinished:
        contents = Path(scratch)
        save_file(_tensors(classifier.module), contents / model.WEIGHTS_FILE)
        manifest = _manifest(classifier, options, model.sha256(contents / model.WEIGHTS_FILE))
        _write_texts(contents, _texts(classifier, labels, options, manifest))
        _copy_code(contents)
        prove(contents, classifier.module)
        record = (tuner.run if options.tune else tuner.settle)(contents, options.images)
        pack(contents, unfinished)
    return target, replace(manifest, engine=record)


def retune(archive: Path, images: Images) -> Manifest:
    """Time its backends anew on this machine and rewrite the archive in its place. Raises BuildRefused."""
    with tempfile.TemporaryDirectory(prefix="swinserve-tune-") as scratch, _replacing(archive) as unfinished:
        contents = Path(scratch)
        with zipfile.ZipFile(archive) as mar:
            mar.extractall(contents)
        _renew_code(contents)
        tuner.run(contents, images)
        pack(contents, unfinished)
        return Manifest.read(contents)


def prove(folder: Path, original: nn.Module) -> None:
    """Load the model from an archive's contents and run it. Raises BuildRefused when it does not answer as `original`
    does."""
    try:
        manifest = Manifest.read(folder)
        HandlerConfig.parse(yaml.safe_load((folder / "model-config.yaml").read_text())["handler"])
        loaded = model.load(folder, manifest)
    except BadArchive as error:
        raise BuildRefused(f"the archive does not load: {error}") from error
    noise = torch.randint(0, 256, (1, *manifest.input_size[1:], 3), generator=torch.Generator().manual_seed(0))
    pixels = noise.to(torch.uint8)
    with torch.inference_mode():
        answer, expected = (
            NormalisedModel(replace(loaded, module=module))(pixels).answer for module in (loaded.module, original)
        )
    if answer.shape != (1, manifest.num_classes or manifest.embedding_size) or not bool(torch.isfinite(answer).all()):
        raise BuildRefused("the model gives no finite score for each class on an image of noise")
    if float((answer - expected).norm()) > _TOLERANCE * float(expected.norm()):
        raise BuildRefused(
            "the model in the archive answers differently than the one it was made from; please report it"
        )


def _manifest(classifier: Classifier, options: Options, digest: str) -> Manifest:
    size = tuple(model.preprocessing(classifier.pretrained_cfg)["input_size"])
    if len(size) != 3 or size[0] != 3:
        raise BuildRefused(f"{classifier.architecture} is no classifier of RGB images")
    counted = _multiply_adds(classifier, size)
    gives = abilities(classifier.module, size)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        contract_version=CONTRACT_VERSION,
        name=options.name,
        version=options.version,
        architecture=classifier.architecture,
        input_size=size,
        num_classes=classifier.num_classes,
        parameters=sum(parameter.numel() for parameter in classifier.module.parameters()),
        multiply_adds=counted,
        embedding_size=gives.embedding_size,
        activation_map=gives.activation_map,
        weights=classifier.source,
        weights_sha256=digest,
        batch_buckets=options.batch_buckets,
        batch_size=options.batch_size,
        workers=options.workers,
        backend=options.backend,
        dtype=options.dtype,
        engine=UNTUNED,
        created_with=_created_with(),
    )


def _multiply_adds(classifier: Classifier, size: tuple[int, ...]) -> int:
    """Of one image; the counting runs the model, unless it is a Swin."""
    try:
        with torch.inference_mode():
            answer = classifier.module(torch.zeros(1, *size))
        counted = multiply_adds.total(multiply_adds.count(classifier.module, size))
    except Exception as error:
        raise BuildRefused(f"{classifier.architecture} does not take an image of {size}: {error}") from error
    plain = isinstance(answer, torch.Tensor) and answer.ndim == 2
    if not plain or (classifier.num_classes and answer.shape != (1, classifier.num_classes)):
        raise BuildRefused(f"{classifier.architecture} is no plain classifier: its answer is not one score a class")
    return counted


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    # Cloned: safetensors refuses tensors that share memory.
    return {key: tensor.detach().clone().contiguous() for key, tensor in module.state_dict().items()}


def _texts(classifier: Classifier, labels: Sequence[str], options: Options, manifest: Manifest) -> dict[str, str]:
    config = {
        "architecture": classifier.architecture,
        "num_classes": classifier.num_classes,
        "model_args": classifier.model_args,
        "label_names": labels,
        "pretrained_cfg": classifier.pretrained_cfg,
    }
    return {
        "MAR-INF/MANIFEST.json": _json(_torchserve_manifest(options)),
        "model-config.yaml": yaml.safe_dump(_model_config(options), sort_keys=False),
        "swinserve.json": _json(manifest.as_json()),
        model.CONFIG_FILE: _json(config),
        model.LABELS_FILE: _json(list(labels)),
        CARD: _json(card(classifier)),
    }


def _torchserve_manifest(options: Options) -> dict[str, Any]:
    described = {
        "modelName": options.name,
        "modelVersion": options.version,
        "handler": ENTRY,
        "serializedFile": model.WEIGHTS_FILE,
        "configFile": "model-config.yaml",
    }
    # TorchServe warns without a date; a fixed one keeps the archive's bytes the same.
    return {"createdOn": "01/01/1980 00:00:00", "runtime": "python", "model": described, "archiverVersion": "0.12.0"}


def _model_config(options: Options) -> dict[str, Any]:
    device = {} if options.device == "auto" else {"deviceType": "gpu" if options.device == "cuda" else "cpu"}
    handler = HandlerConfig(
        backend=options.backend,
        dtype=options.dtype,
        batch_buckets=options.batch_buckets,
        scaled_decode=options.scaled_decode,
    )
    workers = {"minWorkers": options.workers, "maxWorkers": options.workers, "batchSize": options.batch_size}
    return {**workers, **_TORCHSERVE, **device, "handler": handler.as_yaml()}


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _copy_code(folder: Path) -> None:
    """What the handler needs at run time, that is all of it but the builder, and TorchServe's entry."""
    package = Path(swin_handler.__file__).parent
    for part in _RUN_TIME:
        (folder / "swin_handler" / part).mkdir(exist_ok=True)
        for file in (package / part).glob("*.py"):
            shutil.copy(file, folder / "swin_handler" / part)
    shutil.copy(package / "build" / "entry.py", folder / ENTRY)


def _renew_code(folder: Path) -> None:
    """This release's handler in the place of the one that built the archive: it compiles what that one would load."""
    shutil.rmtree(folder / "swin_handler")
    _copy_code(folder)
    manifest = replace(Manifest.read(folder), created_with=_created_with())
    _write_texts(folder, {"swinserve.json": _json(manifest.as_json())})


def pack(contents: Path, target: Path) -> None:
    """A folder as the archive that TorchServe loads: the same contents give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as mar:
        for file in sorted(path for path in contents.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(file.relative_to(contents).as_posix(), date_time=_EPOCH)
            info.external_attr = 0o644 << 16
            with file.open("rb") as source, mar.open(info, "w", force_zip64=True) as member:
                shutil.copyfileobj(source, member)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A file beside `target` that takes its place when the block succeeds and is gone when it does not."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".unfinished", dir=target.parent)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o644)
        os.fsync(handle)
        unfinished.replace(target)
    finally:
        os.close(handle)
        unfinished.unlink(missing_ok=True)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _created_with() -> dict[str, str]:
    return {**{name: _version(name) for name in _PACKAGES}, "python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
