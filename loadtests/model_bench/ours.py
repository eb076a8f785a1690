"""The engine of this project as the worker runs it: uint8 pixels in, one contender for each backend."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch

from swin_handler.build.quantise import quantise
from swin_handler.engine import BackendFailed, BatchEngine, backends
from swin_handler.engine.forward import Forward
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel

from .calibration import calibration_pixels, quiet
from .contender import Absent, Call, Contender, Setting
from .subject import Subject

_CPU = torch.device("cpu")


def forward(backend: str, model: LoadedModel, subject: Subject, setting: Setting) -> Forward:
    """The backend's forward pass of the subject's batch, compiled and loaded. Raises Absent."""
    plan = Plan(backend, setting.dtype, (subject.batch,), _CPU, setting.threads)
    module = backends.all_of(plan.device)[backend]
    if reason := module.refusal(model, plan):
        raise Absent(reason)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if (backend, setting.dtype) == ("openvino", "int8"):
                with quiet():
                    quantise(model, calibration_pixels(subject.name), Path(folder))
            module.prepare(model, plan, Path(folder))
            return module.load(model, plan, Path(folder))[subject.batch]
        except BackendFailed as error:
            raise Absent(str(error)) from error


def _make(backend: str, subject: Subject, setting: Setting) -> Call:
    model, size = subject.loaded(), subject.batch
    forwards = {size: forward(backend, model, subject, setting)}
    engine = BatchEngine(model, forwards, {size: backend}, dtype=setting.dtype, device=_CPU)
    return lambda: engine.run(subject.pixels).logits


CONTENDERS = tuple(
    Contender(f"ours, {backend}", functools.partial(_make, backend))
    for backend in ("native", "inductor", "openvino", "eager")
)
