"""Every backend that can run a model, compiled, held against timm, timed in turns -> the tuning record.

Takes minutes: the builder does it ahead, in a process of its own.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from swin_handler.engine import backends, machine, start
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.forward import Forward
from swin_handler.engine.plan import Plan
from swin_handler.engine.probe import Probe
from swin_handler.model import LoadedModel
from swin_handler.tuning import Record, Timing

_ROUNDS = (5, 40)
_SECONDS = 4.0
"""Of one candidate in one bucket, once it has had its fewest rounds."""
_LEAD = 1.03
"""A backend later in the order must be faster than an earlier one by more than this: a second one costs memory."""

Progress = Callable[[str], None]
"""Told what begins."""


@dataclass(frozen=True)
class Candidate:
    forwards: Mapping[int, Forward]
    errors: Mapping[int, float]
    """batch bucket -> relative L2 against timm in float64"""


class Judge(Protocol):
    """Has a say on int8, whose rounding shows on images, not on noise."""

    def calibrate(self, name: str, plan: Plan, folder: Path, /) -> None:
        """Leave in the backend's folder what its `prepare` takes. Raises BackendFailed."""

    def accept(self, name: str, forwards: Mapping[int, Forward], /) -> None:
        """Raises BackendFailed for a backend that may not serve."""


def tune(
    model: LoadedModel,
    plan: Plan,
    folder: Path,
    *,
    candidates: Sequence[str],
    timed: bool,
    progress: Progress,
    judge: Judge | None = None,
) -> Record:
    """folder: empty; is left with what the chosen backends need. plan.backend is not read.

    Not timed: the first candidate that answers rightly serves every bucket. Raises BackendFailed when none does.
    """
    probe = Probe.of(model)
    probe.write(folder)
    found: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    for name in candidates:
        try:
            found[name] = _candidate(model, replace(plan, backend=name), folder, probe, progress, judge)
        except BackendFailed as error:
            refused[name] = str(error)
            progress(f"{name} is no candidate: {error}")
        if found and not timed:
            break
    if not found:
        raise BackendFailed("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
    timings = _time(found, plan, probe, progress) if timed else ()
    choice = _choose(timings, plan.buckets) if timings else dict.fromkeys(plan.buckets, next(iter(found)))
    return Record(
        machine=machine.current(plan.device, plan.threads),
        dtype=plan.dtype,
        tolerance=probe.tolerance[plan.dtype],
        choice=choice,
        timings=timings,
        refused=refused,
        files=_keep(folder, set(choice.values())),
    )


def _candidate(
    model: LoadedModel, plan: Plan, folder: Path, probe: Probe, progress: Progress, judge: Judge | None
) -> Candidate:
    backend = backends.all_of(plan.device)[plan.backend]
    if reason := backend.refusal(model, plan):
        raise BackendFailed(reason)
    progress(f"{plan.backend}: compiling batch {', '.join(map(str, plan.buckets))}")
    own = folder / plan.backend
    own.mkdir()
    if judge is not None:
        judge.calibrate(plan.backend, plan, own)
    backend.prepare(model, plan, own)
    forwards = backend.load(model, plan, own)
    progress(f"{plan.backend}: comparing its answers with timm's")
    errors = {bucket: probe.check(forwards[bucket], bucket, plan.dtype) for bucket in plan.buckets}
    if judge is not None:
        judge.accept(plan.backend, forwards)
    return Candidate(forwards, errors)


def _time(found: Mapping[str, Candidate], plan: Plan, probe: Probe, progress: Progress) -> tuple[Timing, ...]:
    timings = []
    for bucket in plan.buckets:
        progress(f"timing batch {bucket}: {', '.join(found)} in turns")
        pixels = probe.pixels.repeat(-(-bucket // len(probe.pixels)), 1, 1, 1)[:bucket].contiguous()
        seconds = in_turns({name: candidate.forwards[bucket] for name, candidate in found.items()}, pixels)
        timings += [
            Timing(name, bucket, min(taken), statistics.median(taken), found[name].errors[bucket])
            for name, taken in seconds.items()
        ]
    return tuple(timings)


@torch.inference_mode()
def in_turns(forwards: Mapping[str, Forward], pixels: torch.Tensor) -> dict[str, list[float]]:
    """Seconds of each forward pass, all run in every round, in a new order each time: on a shared machine only such
    times can be compared."""
    taken: dict[str, list[float]] = {name: [] for name in forwards}
    order, shuffle = list(forwards), random.Random(0)  # noqa: S311 - the order of a benchmark
    begin = time.perf_counter()
    for done in range(_ROUNDS[1]):
        if done >= _ROUNDS[0] and time.perf_counter() - begin > _SECONDS * len(order):
            break
        shuffle.shuffle(order)
        for name in order:
            forwards[name](pixels)  # its threads awake, its weights in the cache
            start_of_pass = time.perf_counter()
            forwards[name](pixels)
            taken[name].append(time.perf_counter() - start_of_pass)
    return taken


def _choose(timings: Sequence[Timing], buckets: Sequence[int]) -> dict[int, str]:
    choice = {}
    for bucket in buckets:
        first, *others = (timing for timing in timings if timing.bucket == bucket)
        for other in others:
            if other.best_seconds * _LEAD < first.best_seconds:
                first = other
        choice[bucket] = first.backend
    return choice


def _keep(folder: Path, chosen: set[str]) -> dict[str, str]:
    """Removes what was compiled in vain; path -> SHA-256 of the rest."""
    for own in folder.iterdir():
        if own.is_dir() and own.name not in chosen:
            shutil.rmtree(own)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): start.digest(path) for path in files}
