"""A reference implementation's arguments and checkpoint -> the model, in eval mode and float32."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from swin_handler.models import shunted, swin
from swin_handler.models.checkpoint import CheckpointMismatch, StateDict, load_strictly, official_name, timm_layout

_BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "swin": swin.swin,
    "swinv2": swin.swinv2,
    "shunted": shunted.ShuntedTransformer,
    "shunted_neck": shunted.ShuntedNeck,
}
_TRAINING = {"drop_rate", "attn_drop_rate", "drop_path_rate", "use_checkpoint", "fused_window_process"}
"""Arguments of the references that change nothing in inference."""


def from_reference(family: str, arch: Mapping[str, Any], state_dict: StateDict) -> nn.Module:
    """The model behind a checkpoint of a reference implementation: (B, 3, H, W), normalised -> logits (B, classes).

    With num_classes=0 it gives pooled features (B, D); timm's `forward_features` and `forward_head` are there too,
    except in the neck, which maps (B, C, H, W) to (B, C, H, W).

    `family` is swin, swinv2, shunted or shunted_neck. `arch` holds keyword arguments of the reference's constructor,
    under its names and with its defaults; those that matter in training alone are taken and have no effect.
    `state_dict` is in the reference's layout; buffers that follow from `arch` may be missing and are never used.

    Raises CheckpointMismatch (a ValueError) for an unknown family or argument, sizes that cannot work, and missing,
    surplus or misshapen tensors, all named.
    """
    if family not in _BUILDERS:
        raise CheckpointMismatch(f"no family {family!r}; there are {', '.join(_BUILDERS)}")
    if not all(isinstance(tensor, torch.Tensor) for tensor in state_dict.values()):
        raise CheckpointMismatch(
            f"the state dict holds more than tensors: {', '.join(map(str, state_dict))}; unwrap it"
        )
    model = _built(family, _known(family, arch)).to(torch.float32).eval()
    if family.startswith("swin"):
        load_strictly(model, timm_layout(state_dict), family, named=official_name)
    else:
        load_strictly(model, state_dict, family)
    if family == "swin":
        swin.fold_qk_scale(model, arch.get("qk_scale"))
    return model


def _built(family: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        return _BUILDERS[family](**arguments)
    except CheckpointMismatch:
        raise
    except (TypeError, ValueError, IndexError, ArithmeticError, AssertionError, RuntimeError) as error:
        # Lists of different lengths, a window of 0, a missing argument …: the constructors do not look.
        raise CheckpointMismatch(f"{family} cannot be built with {dict(arguments)}: {error}") from error


def _known(family: str, arch: Mapping[str, Any]) -> dict[str, Any]:
    """`arch` without what matters in training alone. Raises CheckpointMismatch naming unknown arguments."""
    parameters = inspect.signature(_BUILDERS[family]).parameters
    unknown = sorted(set(arch) - set(parameters) - _TRAINING)
    if unknown:
        known, training = (", ".join(sorted(names)) for names in (parameters, _TRAINING))
        raise CheckpointMismatch(
            f"{family} takes no argument {', '.join(unknown)}; known are {known}; without effect {training}"
        )
    return {name: value for name, value in arch.items() if name in parameters}
