"""What an archive and its workers say of the backends -> why this one serves, in words, and what was timed."""

from __future__ import annotations

from swin_gateway.archive import Manifest
from swin_gateway.engine_record import EngineRecord, Machine
from swin_proto.v1.classifier_pb2 import BackendTiming


def reason(manifest: Manifest, *, backend: str, note: str) -> str:
    """Why `backend` serves, for a person; empty while no worker has answered and so none is known.

    note: the worker's, why a safe default serves instead of what was tuned; empty if none does
    """
    if not backend:
        return ""
    if note:
        return f"a safe default: {note}"
    if manifest.backend != "auto":
        return "the archive asks for it"
    left_out = [f"not {name}: {why}" for name, why in manifest.engine.refused.items()]
    return "; ".join([_found_out(manifest), *left_out])


def timings(record: EngineRecord, *, note: str) -> list[BackendTiming]:
    """note: as of `reason`; with one, nothing of what was timed is chosen"""
    return [
        BackendTiming(
            backend=timing.backend,
            batch_bucket=timing.bucket,
            best_seconds=timing.best_seconds,
            median_seconds=timing.median_seconds,
            relative_l2=timing.relative_l2,
            chosen=not note and record.choice.get(timing.bucket) == timing.backend,
        )
        for timing in record.timings
    ]


def _found_out(manifest: Manifest) -> str:
    record = manifest.engine
    if not record.timings:
        first = "the first that could be used" if record.refused else "the safe default of this machine"
        return f"{first}; nothing was timed: swinserve tune {manifest.name}"
    timed = ", ".join(dict.fromkeys(timing.backend for timing in record.timings))
    return f"fastest of {timed} in each batch bucket when the archive was built, on {_place(record.machine)}"


def _place(machine: Machine) -> str:
    if machine.device == "cuda":
        return machine.hardware
    return f"{machine.threads} thread{'s' * (machine.threads > 1)} of {machine.hardware}"
