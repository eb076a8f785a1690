"""Model and calibration pixels -> OpenVINO's graph in int8, by NNCF's post-training quantisation."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from swin_handler.engine import openvino
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.network import network
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel

MOST = 300
"""Images that set the ranges: NNCF's own default."""
_FLOAT32 = Plan("openvino", "float32", (), torch.device("cpu"), threads=1)


def quantise(model: LoadedModel, pixels: torch.Tensor, folder: Path) -> None:
    """pixels: uint8 (N, H, W, 3), as served. Leaves in `folder` what the backend openvino prepares and loads in int8.

    NNCF shows its progress on stdout, a minute for Swin-T. Raises BackendFailed.
    """
    openvino.runtime()  # before NNCF is imported, which would report its use
    try:
        nncf = importlib.import_module("nncf")
    except ImportError as error:
        raise BackendFailed(openvino.INSTALL) from error
    # Not timm's form: of a Swin with one head, OpenVINO's int8 answered differently from run to run, and for others the
    # error was three times that of this one.
    graph = openvino.convert(model, network(model, _FLOAT32))
    images = [pixels[index : index + 1].numpy() for index in range(min(len(pixels), MOST))]
    # As NNCF's documentation has it for vision transformers: attention keeps the precision that it needs.
    model_type = nncf.ModelType.TRANSFORMER if _attends(model) else None
    try:
        quantised = nncf.quantize(graph, nncf.Dataset(images), model_type=model_type, subset_size=len(images))
    except Exception as error:  # NNCF has its own ways to fail, and another backend may have int8
        raise BackendFailed(f"NNCF cannot quantise this model: {error}") from error
    openvino.write(quantised, folder)


def _attends(model: LoadedModel) -> bool:
    return any("attn" in name for name, _module in model.module.named_modules())
