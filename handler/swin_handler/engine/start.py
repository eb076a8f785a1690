"""Model and what was compiled for it -> an engine that has answered rightly in every batch bucket.

A start only loads. Where the tuning record does not fit the machine, or what it names cannot be used, a safe default
serves and `note` says why; only the log does, if nothing was timed and so nothing better was given up.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from swin_handler.config import HandlerConfig
from swin_handler.engine import backends, machine
from swin_handler.engine.batches import BatchEngine
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.forward import Forward
from swin_handler.engine.plan import Plan
from swin_handler.engine.probe import FILE, Probe
from swin_handler.errors import BadArchive
from swin_handler.model import LoadedModel
from swin_handler.tuning import Machine, Record

log = logging.getLogger(__name__)

FOLDER = "engine"
"""Of an archive: where each backend has a folder with what it compiled."""
_Choice = tuple[Mapping[int, str], str]
"""batch bucket -> backend; dtype"""


def load(
    model: LoadedModel,
    folder: Path,
    record: Record,
    *,
    config: HandlerConfig,
    device: torch.device,
    threads: int,
) -> BatchEngine:
    """folder: an unpacked archive's FOLDER. Raises BadArchive when not even the safe default answers rightly."""
    buckets = config.batch_buckets
    try:
        _verify_file(folder, FILE, record.files)
        probe = Probe.read(model, folder)
    except BackendFailed as error:
        raise BadArchive(str(error)) from error
    choices = [*_safe(record, config, device)]
    default = _default(model, Plan("", record.dtype, buckets, device, threads))
    here = machine.current(device, threads)
    elsewhere = _elsewhere(record, config, here, default)
    note = elsewhere or _misfit(record, config)
    if not note:
        choices.insert(0, _wanted(record, config, device))
    for choice, dtype in choices:
        try:
            plan = Plan("", dtype, buckets, device, threads)
            forwards = _load(model, plan, choice, folder, record.files, probe)
        except BackendFailed as error:
            note = note or str(error)
            log.warning("%s", error)
            continue
        if elsewhere and _no_worse(record, here, choice, default):
            log.warning("nothing was timed for this machine, swinserve tune does it: %s", elsewhere)
            note = ""
        elif note:
            log.warning("a safe default serves: %s", note)
        return BatchEngine(model, forwards, choice, dtype=dtype, device=device, note=note)
    raise BadArchive(f"no backend runs this model here: {note}")


def build(
    model: LoadedModel,
    *,
    device: torch.device,
    dtype: str = "auto",
    buckets: Sequence[int],
    backend: str = "auto",
    threads: int | None = None,
) -> BatchEngine:
    """An engine without an archive: compiled now if need be, in seconds for `auto`, which is the safe default.

    buckets: batch sizes; a larger batch is split, a smaller one padded. Raises BackendFailed.
    """
    chosen = backends.dtype(device) if dtype == "auto" else dtype
    plan = Plan("", chosen, tuple(sorted(set(buckets))), device, threads or torch.get_num_threads())
    probe = Probe.of(model)
    reasons = []
    with tempfile.TemporaryDirectory(prefix="swinserve-engine-") as scratch:
        for name in backends.safe(device) if backend == "auto" else (backend,):
            choice = dict.fromkeys(plan.buckets, name)
            try:
                prepare(model, replace(plan, backend=name), Path(scratch))
                forwards = _load(model, plan, choice, Path(scratch), None, probe)
                return BatchEngine(model, forwards, choice, dtype=chosen, device=device)
            except BackendFailed as error:
                reasons.append(str(error))
    raise BackendFailed("; ".join(reasons))


def prepare(model: LoadedModel, plan: Plan, folder: Path) -> None:
    """Compile into the backend's own folder below `folder`. Raises BackendFailed."""
    backend = backends.all_of(plan.device)[plan.backend]
    if reason := backend.refusal(model, plan):
        raise BackendFailed(f"{plan.backend}: {reason}")
    own = folder / plan.backend
    own.mkdir(exist_ok=True)
    backend.prepare(model, plan, own)


def _elsewhere(record: Record, config: HandlerConfig, here: Machine, default: str) -> str:
    """Why the record says nothing about this machine; empty if it does."""
    # What a build without timing took is what this machine would take too, so an image may be built anywhere.
    anywhere = not record.timings and set(record.choice.values()) == {default}
    differs = record.machine.misfit(here)
    if not differs or anywhere or not _needs_record(record, config):
        return ""
    return f"it was {'tuned' if record.timings else 'built'} elsewhere ({differs})"


def _no_worse(record: Record, here: Machine, choice: Mapping[int, str], default: str) -> bool:
    """Whether what serves on another machine is as good as the record ever promised: untimed, and its own choice, or on
    another kind of device (no image is built on a GPU) the best default there."""
    served = set(choice.values())
    own = served == set(record.choice.values())
    return not record.timings and (own or (record.machine.device != here.device and served == {default}))


def _misfit(record: Record, config: HandlerConfig) -> str:
    """Why the record says nothing about this configuration; empty if it does."""
    if not _needs_record(record, config):
        return ""
    if config.dtype not in ("auto", record.dtype):
        return f"it was tuned in {record.dtype}, not {config.dtype}"
    if unknown := sorted(set(config.batch_buckets) - set(record.choice)):
        return f"it was not tuned for batch {', '.join(map(str, unknown))}"
    return ""


def _default(model: LoadedModel, plan: Plan) -> str:
    """The fastest safe default that can run the model here, compiled or not; none is of int8 on a GPU."""
    known = backends.all_of(plan.device)
    able = (name for name in backends.safe(plan.device) if not known[name].refusal(model, replace(plan, backend=name)))
    return next(able, "none")


def _needs_record(record: Record, config: HandlerConfig) -> bool:
    """Whether what serves was chosen or compiled ahead; a backend that was named and needs no files fits anywhere."""
    return config.backend == "auto" or any(path.startswith(f"{config.backend}/") for path in record.files)


def _wanted(record: Record, config: HandlerConfig, device: torch.device) -> _Choice:
    if config.backend == "auto":
        return {bucket: record.choice[bucket] for bucket in config.batch_buckets}, record.dtype
    dtype = record.dtype if _needs_record(record, config) else _safe_dtype(record, config, device)
    return dict.fromkeys(config.batch_buckets, config.backend), dtype


def _safe(record: Record, config: HandlerConfig, device: torch.device) -> Iterator[_Choice]:
    dtype = _safe_dtype(record, config, device)
    for name in backends.safe(device):
        yield dict.fromkeys(config.batch_buckets, name), dtype


def _safe_dtype(record: Record, config: HandlerConfig, device: torch.device) -> str:
    here = backends.dtype(device)
    if config.dtype == "auto" and record.machine.device != device.type:
        return here  # that the CPU of an image's builder lacks bfloat16 says nothing about a GPU
    asked = record.dtype if config.dtype == "auto" else config.dtype
    # int8 may need what is not here; bfloat16, where the hardware lacks it, is slower than float32.
    return asked if asked == "float32" or (asked == "bfloat16" and config.dtype == asked) else here


def _load(
    model: LoadedModel,
    plan: Plan,
    choice: Mapping[int, str],
    folder: Path,
    files: Mapping[str, str] | None,
    probe: Probe,
) -> dict[int, Forward]:
    """Each bucket's forward pass, once its answers are found right. files: their SHA-256; None: not to be checked."""
    forwards: dict[int, Forward] = {}
    for name in dict.fromkeys(choice.values()):
        part = replace(plan, backend=name, buckets=tuple(b for b in plan.buckets if choice[b] == name))
        backend = backends.all_of(plan.device)[name]
        try:
            if reason := backend.refusal(model, part):
                raise BackendFailed(reason)
            if files is not None:
                _verify(folder, name, files)
            loaded = backend.load(model, part, folder / name)
            for bucket, forward in loaded.items():
                probe.check(forward, bucket, plan.dtype)
        except BackendFailed as error:
            raise BackendFailed(f"{name}: {error}") from error
        forwards.update(loaded)
    return forwards


def _verify(folder: Path, backend: str, files: Mapping[str, str]) -> None:
    """Every file of a backend's folder is the one that was compiled. Raises BackendFailed."""
    there = {path.relative_to(folder).as_posix() for path in (folder / backend).rglob("*") if path.is_file()}
    listed = {path for path in files if path.startswith(f"{backend}/")}
    if there != listed:
        raise BackendFailed(f"{', '.join(sorted(there ^ listed))}: missing, or not of this archive; build it again")
    for path in sorted(listed):
        _verify_file(folder, path, files)


def _verify_file(folder: Path, path: str, files: Mapping[str, str]) -> None:
    try:
        found = digest(folder / path)
    except OSError as error:
        raise BackendFailed(f"{path} cannot be read: {error.strerror}") from error
    if found != files.get(path):
        raise BackendFailed(f"{path} was changed or damaged: build the archive again")


def digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
