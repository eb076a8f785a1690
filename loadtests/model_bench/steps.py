"""Where the time of one forward pass of Swin goes, step by step: ours, stock timm in eager mode, and the floor.

Steps are those that our native engine counts: embed, qkv (with the norm before it and, in ours, the gathering of
windows), attention (scores, bias, mask, softmax, and in timm everything between the layers: roll, partition, reverse),
projection, mlp (with its norm), merge, head. All three run in turns; a step's figure is its median.
"""

from __future__ import annotations

import inspect
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from swin_handler.engine.forward import AnySize
from swin_handler.engine.native_library import STEPS, Network

from . import ours
from .contender import Absent, Setting, torch_dtype
from .floor import FLOOR
from .products import products
from .shapes import shapes
from .subject import Subject

Profile = dict[str, float]
"""step -> seconds"""
_ROUNDS = 10

_STEP_OF = (
    (r"patch_embed", "embed"),
    (r"attn\.qkv|norm1", "qkv"),
    (r"attn\.proj", "projection"),
    (r"mlp|norm2", "mlp"),
    (r"downsample", "merge"),
    (r"head|norm", "head"),
    (r"", "attention"),
)
"""pattern in the name of timm's module -> step; the first that fits"""


@dataclass(frozen=True)
class StepRow:
    model: str
    dtype: str
    batch: int
    threads: int
    contender: str
    step: str
    seconds: float


def step_of(layer: str) -> str:
    return next(step for pattern, step in _STEP_OF if re.search(pattern, layer))


def profile(
    subject: Subject, setting: Setting, names: Sequence[str], absent: Callable[[str], None]
) -> Iterator[StepRow]:
    """Of those of `names` that have this dtype; `absent` hears why others do not."""
    sides: dict[str, Callable[[], Profile]] = {}
    for name in names:
        try:
            sides[name] = SIDES[name](subject, setting)
        except Absent as reason:
            absent(f"profile of {subject.name}, {setting.dtype}: {name} is absent: {reason}")
    taken: dict[str, list[Profile]] = {name: [] for name in sides}
    for _ in range(_ROUNDS):
        for name, run in sides.items():
            run()  # its threads awake, the others' asleep
            taken[name].append(run())
    for name, found in taken.items():
        for step in STEPS:
            seconds = statistics.median(each.get(step, 0.0) for each in found)
            yield StepRow(subject.name, setting.dtype, subject.batch, setting.threads, name, step, seconds)


def _native(subject: Subject, setting: Setting) -> Callable[[], Profile]:
    forward = ours.forward("native", subject.loaded(), subject, setting)
    # The engine has no use for stopwatches, so its forward pass keeps the network that has them to itself.
    assert isinstance(forward, AnySize)
    network: Network = inspect.getclosurevars(forward.forward).nonlocals["network"]

    def run() -> Profile:
        network.profile()  # forgets what was counted before
        forward(subject.pixels)
        return network.profile()

    return run


def _timm(subject: Subject, setting: Setting) -> Callable[[], Profile]:
    dtype = torch_dtype(setting)
    module, images, clock = subject.copy().to(dtype), subject.images.to(dtype), _Clock()

    @torch.inference_mode()
    def run() -> Profile:
        clock.seconds.clear()
        with _clocked(module, clock):
            module(images)
        return dict(clock.seconds)

    return run


def _floor(subject: Subject, setting: Setting) -> Callable[[], Profile]:
    found = shapes(subject.name, subject.batch, subject.data_config["input_size"])
    steps = [step_of(shape.layer) for shape in found]
    ready = products(found, setting.dtype)

    @torch.inference_mode()
    def run() -> Profile:
        seconds: Profile = {}
        for step, product in zip(steps, ready, strict=True):
            start = time.perf_counter()
            product()
            seconds[step] = seconds.get(step, 0.0) + time.perf_counter() - start
        return seconds

    return run


@dataclass
class _Clock:
    """Gives the time to the innermost module that is running."""

    seconds: Profile = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    since: float = 0.0

    def enter(self, layer: str) -> None:
        self._count()
        self.running.append(layer)

    def leave(self) -> None:
        self._count()
        self.running.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self.running:
            step = step_of(self.running[-1])
            self.seconds[step] = self.seconds.get(step, 0.0) + now - self.since
        self.since = now


@contextmanager
def _clocked(module: nn.Module, clock: _Clock) -> Iterator[None]:
    handles = []
    for name, layer in module.named_modules():
        handles.append(layer.register_forward_pre_hook(lambda *_, name=name: clock.enter(name)))
        handles.append(layer.register_forward_hook(lambda *_: clock.leave()))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


SIDES: dict[str, Callable[[Subject, Setting], Callable[[], Profile]]] = {
    "ours, native": _native,
    "timm eager": _timm,
    FLOOR: _floor,
}
"""contender -> what makes its pass with a stopwatch"""
