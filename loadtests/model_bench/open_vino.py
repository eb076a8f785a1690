"""OpenVINO as its documentation shows it: converted from PyTorch, latency hint; int8 by NNCF."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch

from swin_handler.engine import BackendFailed
from swin_handler.engine.openvino import runtime

from .calibration import calibration_images, quiet
from .contender import Absent, Call, Contender, Setting
from .subject import Subject, timm_module

_PRECISION = {"float32": "f32", "bfloat16": "bf16", "int8": "bf16"}
"""What is not quantised runs in bfloat16 where the chip has it, OpenVINO's own default too."""


def _make(subject: Subject, setting: Setting) -> Call:
    try:
        openvino = runtime()
    except BackendFailed as error:
        raise Absent(str(error)) from error
    converted = _quantised(subject.name) if setting.dtype == "int8" else _converted(subject.name)
    model = converted.clone()
    model.reshape(list(subject.images.shape))
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _PRECISION[setting.dtype],
        "INFERENCE_NUM_THREADS": setting.threads,
    }
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    images = subject.images.numpy()
    # Shared: OpenVINO reads the images where they are.
    return lambda: torch.from_numpy(np.asarray(compiled([images], share_inputs=True)[0]))


@functools.lru_cache(maxsize=1)
def _converted(name: str) -> Any:
    """OpenVINO's model, batch size still open."""
    example = calibration_images(name, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing, OpenVINO's own default way, is deprecated in torch
        return runtime().convert_model(timm_module(name), example_input=example, input=[-1, *example.shape[1:]])


@functools.lru_cache(maxsize=1)
def _quantised(name: str) -> Any:
    try:
        import nncf
    except ImportError as error:
        raise Absent(f"NNCF: {error}") from error
    images = [image[None].numpy() for image in calibration_images(name)]
    kind = None if name == "resnet50" else nncf.ModelType.TRANSFORMER
    with quiet():
        return nncf.quantize(_converted(name), nncf.Dataset(images), subset_size=len(images), model_type=kind)


CONTENDERS = (Contender("OpenVINO", _make),)
