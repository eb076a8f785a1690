"""What `swinserve doctor` asks the handler: torch, CPU, GPU, compiler, and whether each archive's engine serves here.

A check is (what, verdict, found, advice), as swin_gateway.checks describes it.
"""

from __future__ import annotations

import logging
import os
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import timm
import torch

from swin_handler import cpus
from swin_handler.build import built, store
from swin_handler.config import Manifest
from swin_handler.engine import BackendFailed, compiler, cpu
from swin_handler.errors import BadArchive
from swin_handler.offline import OfflineModel

Check = tuple[str, str, str, str]


def checks(*, model_store: Path | None, config: Path | None) -> Iterator[Check]:
    """model_store: of the flag or the environment; config: `swinserve serve --config`. None: not given."""
    yield "torch", "ok", f"{torch.__version__}, timm {timm.__version__}", ""
    yield "CPU", "ok", f"{cpus.available()} to use; {cpu.features()}", ""
    yield _gpu()
    yield _compiler()
    with _quiet():
        for archive in built.archives(store.resolve(model_store or _named_in(config))):
            if archive.manifest is not None:  # what is broken, the gateway's check tells
                yield _engine(archive.path, archive.manifest)


@contextmanager
def _quiet() -> Iterator[None]:
    """A worker's own log would say a second time what is told here."""
    log = logging.getLogger("swin_handler")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _gpu() -> Check:
    if torch.cuda.is_available():
        return "GPU", "ok", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}", ""
    if not Path("/dev/nvidiactl").exists():
        return "GPU", "ok", "none; models run on the CPU", ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
    else:
        reason = "no device is visible to this process"
    advice = "update NVIDIA's driver, or install the torch whose CUDA it supports; see `nvidia-smi`"
    return "GPU", "warn", f"there is one, and torch {torch.__version__} cannot use it: {reason}", advice


def _compiler() -> Check:
    """Whether what is found really compiles."""
    with tempfile.TemporaryDirectory(prefix="swinserve-doctor-") as scratch:
        source = Path(scratch) / "check.cpp"
        source.write_text("#include <vector>\nint check() { return static_cast<int>(std::vector<int>(1).size()); }\n")
        try:
            compiler.shared_library(source, source.with_suffix(".so"), ("-std=c++17",))
        except BackendFailed as error:
            advice = "apt-get install g++, or set CXX to one: without it the fastest backends cannot be built here"
            named = f" (CXX is {os.environ['CXX']})" if os.environ.get("CXX") else ""
            return "C++ compiler", "warn", f"{str(error).partition(': install')[0]}{named}", advice
    return "C++ compiler", "ok", " ".join(compiler.find() or ()), ""


def _engine(path: Path, manifest: Manifest) -> Check:
    """Loads the archive as a worker does: each batch bucket has then answered rightly."""
    what, name = f"engine of {manifest.name}@{manifest.version}", f"{manifest.name}@{manifest.version}"
    record = manifest.engine
    on_gpu = record.machine.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        advice = "serve it on a machine with one, or build it again with --device cpu"
        return what, "warn", "it was built for a GPU, and none can be used here", advice
    try:
        model = OfflineModel(path, gpu=0 if on_gpu else None)
    except BadArchive as error:
        return what, "fail", str(error), "build the archive again as it was built"
    found = f"{model.backend} in {model.dtype} answers rightly"
    if model.note:
        return what, "warn", f"{found}, a safe default: {model.note}", f"swinserve tune {name}"
    if not record.timings:
        return what, "warn", f"{found}; no backend was timed", f"swinserve tune {name} finds the fastest, in minutes"
    return what, "ok", f"{found}, the fastest when it was tuned", ""


def _named_in(config: Path | None) -> Path | None:
    """The model store that the file of the gateway's settings names."""
    if config is None:
        return None
    named = tomllib.loads(config.read_text()).get("model_store")
    return None if named is None else Path(named)
