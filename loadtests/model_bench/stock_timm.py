"""timm as it comes, in one dtype throughout (no autocast): eager, compiled, and compiled with freezing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .contender import Absent, Call, Contender, Setting, torch_dtype
from .subject import Subject


def _eager(subject: Subject, setting: Setting) -> Call:
    return _call(subject.copy().to(torch_dtype(setting)), subject, setting)


def _fused(subject: Subject, setting: Setting) -> Call:
    module = subject.fused()
    if not any(getattr(layer, "fused_attn", False) for layer in module.modules()):
        raise Absent(f"timm has no fused attention for {subject.name}")
    return _call(module.to(torch_dtype(setting)), subject, setting)


def _compiled(subject: Subject, setting: Setting, **options: Any) -> Call:
    module = subject.copy().to(torch_dtype(setting))
    compiled: Any = torch.compile(module, fullgraph=True, dynamic=False, options=options)
    return _call(compiled, subject, setting)


def _frozen(subject: Subject, setting: Setting) -> Call:
    # Dynamo asks the global switch whether parameters are constants, the option says it to Inductor.
    with torch._inductor.config.patch(freezing=True):
        return _compiled(subject, setting, freezing=True)


def _call(module: nn.Module, subject: Subject, setting: Setting) -> Call:
    images = subject.images.to(torch_dtype(setting))

    @torch.inference_mode()
    def call() -> torch.Tensor:
        logits: torch.Tensor = module(images)
        return logits

    call()  # compiles
    return call


CONTENDERS = (
    Contender("timm eager", _eager),
    Contender("timm eager, fused attention", _fused),
    Contender("timm compiled", _compiled),
    Contender("timm compiled + freezing", _frozen),
)
