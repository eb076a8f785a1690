"""How long a benchmark will take, so that nobody starts an hour unawares."""

from __future__ import annotations

from collections.abc import Sequence

from .groups import Group

_COMPILE_SECONDS = {"swin_tiny": 35, "swin_base": 75, "swinv2_tiny": 55, "resnet50": 8, "micro": 8}
"""Of one torch.compile of stock timm, on two cores of a Zen 5."""
_CONVERT_SECONDS = {"swin_tiny": 10, "swin_base": 25, "swinv2_tiny": 15, "resnet50": 8, "micro": 3}
"""Of one conversion for OpenVINO or onnxruntime; int8 is calibrated besides."""


def minutes(groups: Sequence[Group], seconds: float) -> float:
    """Of compiling everything and of timing each group for `seconds`."""
    compiling = 0.0
    for group in groups:
        for entry in group.entries:
            name = entry.contender.name
            if "compiled" in name and entry.dtype != "int8":
                compiling += _COMPILE_SECONDS[entry.model]
            elif name.startswith(("ours, inductor", "ours, openvino", "OpenVINO", "onnxruntime")):
                compiling += _CONVERT_SECONDS[entry.model]
    return (compiling + seconds * len(groups)) / 60
