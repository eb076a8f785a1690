"""A model as one module for one plan: uint8 (B, H, W, 3) on the device -> Outputs on the device."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.plan import TORCH_DTYPES, Plan
from swin_handler.kernels.window_attention import window_attention
from swin_handler.model import LoadedModel
from swin_handler.models import inference


def network(model: LoadedModel, plan: Plan) -> nn.Module:
    """In the plan's dtype, which must be a floating point one, on its device."""
    form = inference.convert(model.module, mean=model.data_config["mean"], std=model.data_config["std"])
    if form is None:
        # A copy: neither rounding nor moving may change the model that other backends and the probe read.
        as_it_is = plan.dtype == "float32" and plan.device.type == "cpu"
        module = NormalisedModel(model if as_it_is else deepcopy(model))
        module.round_to(TORCH_DTYPES[plan.dtype])
        return module.eval().to(plan.device)
    form.gives_features = model.abilities.activation_map is not None
    form.round_to(TORCH_DTYPES[plan.dtype])
    if plan.device.type == "cuda":
        form.use(window_attention)
    else:
        form.lay_out_bias()
    return form.to(plan.device)
