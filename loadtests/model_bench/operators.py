"""Where stock timm's time goes, operator by operator, in eager mode: what Swin does beside its matrix products."""

from __future__ import annotations

import re

import torch
from torch.profiler import ProfilerActivity

from .contender import Setting, torch_dtype
from .subject import Subject

_KIND_OF = (
    (r"bmm", "products of attention"),
    (r"linear|mm$", "linear layers"),
    (r"conv", "patch embedding"),
    (r"softmax", "softmax"),
    (r"roll", "roll"),
    (r"index|gather", "bias gather"),
    (r"add_?$", "adds: bias, mask, residual"),
    (r"layer_norm", "norms"),
    (r"gelu", "GELU"),
    (r"copy_|clone|contiguous|cat|repeat|to$", "copies: partition, reverse, heads"),
    (r"", "everything else"),
)
"""pattern in an operator's name -> what it is there for; the first that fits"""


def operators(subject: Subject, setting: Setting, passes: int = 5) -> dict[str, float]:
    """kind -> seconds of one forward pass, most first"""
    module, images = subject.copy().to(torch_dtype(setting)), subject.images.to(torch_dtype(setting))
    with torch.inference_mode():
        module(images)
        with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(passes):
                module(images)
    seconds: dict[str, float] = {}
    for event in profiler.key_averages():
        kind = kind_of(event.key.removeprefix("aten::"))
        seconds[kind] = seconds.get(kind, 0.0) + event.self_cpu_time_total / 1e6 / passes
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def kind_of(operator: str) -> str:
    return next(kind for pattern, kind in _KIND_OF if re.search(pattern, operator))
