"""A group of contenders -> seconds of each, interleaved: only such times mean anything on a shared machine."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from .contender import Absent, Call, Contender, Setting
from .rows import Row
from .subject import Subject

_WARM_BELOW = 0.5
"""Seconds. Thread pools spin for some milliseconds after their work, which slows whoever comes next; so each timed call
comes second of two. A call longer than this does not notice."""
_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Entry:
    model: str
    dtype: str
    batch: int
    contender: Contender


@dataclass(frozen=True)
class Ready:
    entry: Entry
    call: Call
    relative_l2: float | None
    build_seconds: float


Tell = Callable[[str], None]
"""Takes one line about what happens, or what does not."""


def prepare(entries: Sequence[Entry], threads: int, doing: Tell, absent: Tell) -> list[Ready]:
    """Those of a group that can run, compiled and warm; `absent` hears why the others cannot."""
    # What earlier groups compiled is dead, and counts towards Dynamo's limit of recompilations.
    torch._dynamo.reset()
    gc.collect()
    subjects: dict[tuple[str, int], Subject] = {}
    ready = []
    for entry in entries:
        doing(f"{entry.contender.name}: preparing")
        where = f"{entry.model}, {entry.dtype}, batch {entry.batch}: {entry.contender.name}"
        subject = subjects.setdefault((entry.model, entry.batch), Subject.make(entry.model, entry.batch))
        try:
            ready.append(_ready(entry, subject, Setting(entry.dtype, threads)))
        except Absent as reason:
            absent(f"{where} is absent: {reason}")
        except Exception as error:  # noqa: BLE001 - a peer that breaks is reported, an hour's run goes on
            absent(f"{where} FAILED: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    return ready


def run(ready: Sequence[Ready], group: str, *, threads: int, rounds: int, seconds: float) -> Iterator[list[Row]]:
    """One list of rows for each round; ends after `rounds`, or after `seconds` once there are a few."""
    shuffle, begin = random.Random(0), time.perf_counter()
    taken: dict[int, float] = {}
    for number in range(rounds):
        if number >= _FEWEST_ROUNDS and time.perf_counter() - begin > seconds:
            return
        order = list(enumerate(ready))
        shuffle.shuffle(order)
        for index, each in order:
            if taken.get(index, 0.0) < _WARM_BELOW:
                each.call()
            start = time.perf_counter()
            each.call()
            taken[index] = time.perf_counter() - start
        yield [_row(each, group, threads, number, taken[index]) for index, each in enumerate(ready)]


def _ready(entry: Entry, subject: Subject, setting: Setting) -> Ready:
    torch.set_num_threads(setting.threads)
    start = time.perf_counter()
    call = entry.contender.make(subject, setting)
    built = time.perf_counter() - start
    return Ready(entry, call, subject.relative_l2(call()) if entry.contender.checked else None, built)


def _row(each: Ready, group: str, threads: int, number: int, seconds: float) -> Row:
    entry = each.entry
    return Row(
        group=group,
        model=entry.model,
        dtype=entry.dtype,
        batch=entry.batch,
        threads=threads,
        contender=entry.contender.name,
        round=number,
        seconds=seconds,
        relative_l2=each.relative_l2,
        build_seconds=round(each.build_seconds, 1),
    )
