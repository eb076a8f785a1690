"""PyTorch as it is: what serves when nothing faster can."""

from __future__ import annotations

from pathlib import Path

import torch

from swin_handler.engine.forward import Forward
from swin_handler.engine.network import network
from swin_handler.engine.plan import TORCH_DTYPES, Plan
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs


def refusal(_model: LoadedModel, plan: Plan) -> str | None:
    return None if plan.dtype in TORCH_DTYPES else f"eager PyTorch has no {plan.dtype}"


def prepare(_model: LoadedModel, _plan: Plan, _folder: Path) -> None:
    """Nothing is compiled."""


def load(model: LoadedModel, plan: Plan, _folder: Path) -> dict[int, Forward]:
    module = network(model, plan)

    @torch.inference_mode()
    def forward(pixels: torch.Tensor) -> Outputs:
        outputs: Outputs = module(pixels)
        return outputs

    return dict.fromkeys(plan.buckets, forward)
