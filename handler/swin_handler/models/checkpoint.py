"""State dicts: which implementation wrote one, the reference's layout -> timm's, and strict loading."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

StateDict = Mapping[str, torch.Tensor]

_DERIVED = ("relative_position_index", "relative_coords_table", "attn_mask")
"""Buffers that official checkpoints store and that follow from the architecture: computed anew, never trusted."""
_UNUSED = "num_batches_tracked"


class CheckpointMismatch(ValueError):
    """A checkpoint or its arguments do not fit the model; the message lists what is missing or too much."""


def official_family(state: StateDict) -> str | None:
    """The family whose reference implementation wrote this checkpoint, told by its keys; None if it was another.

    timm's own checkpoints of Swin merge patches at a stage's start, the reference's at its end, and so have a
    `layers.0.downsample`. The Shunted Transformer's layout is the reference's here too.
    """
    if any(key.startswith("patch_embed1.conv.") for key in state):
        return "shunted"
    if not any(key.startswith("layers.0.downsample.") for key in state):
        return None
    return "swinv2" if any(key.endswith("attn.logit_scale") for key in state) else "swin"


def timm_layout(state: StateDict) -> dict[str, torch.Tensor]:
    """An official Swin V1 or V2 checkpoint under timm's names."""
    return {_timm_name(key): tensor for key, tensor in state.items() if not key.endswith(_DERIVED)}


def _timm_name(key: str) -> str:
    key = re.sub(r"^layers\.(\d+)\.downsample\.", lambda stage: f"layers.{int(stage[1]) + 1}.downsample.", key)
    key = re.sub(r"^head\.", "head.fc.", key)
    return re.sub(r"^absolute_pos_embed$", "patch_embed.absolute_pos_embed", key)


def official_name(key: str) -> str:
    """timm's name of a Swin tensor -> the reference's."""
    key = re.sub(r"^layers\.(\d+)\.downsample\.", lambda stage: f"layers.{int(stage[1]) - 1}.downsample.", key)
    key = re.sub(r"^head\.fc\.", "head.", key)
    return re.sub(r"^patch_embed\.absolute_pos_embed$", "absolute_pos_embed", key)


def load_strictly(
    module: nn.Module, state: StateDict, what: str, *, named: Callable[[str], str] = str, at_most: int | None = None
) -> None:
    """Loads `state` into `module`. Raises CheckpointMismatch, listing every kind of difference, if it does not fit.

    `what` names the model in the message and `named` its tensors; `at_most` so many of a kind are listed.
    """
    expected = module.state_dict()
    # How many batches a norm was trained with matters to nobody here, and not every writer keeps it.
    state = {key: tensor for key, tensor in expected.items() if key.endswith(_UNUSED)} | dict(state)
    differences = {
        "missing": [named(key) for key in expected if key not in state],
        "surplus": [named(key) for key in state if key not in expected],
        "of another shape": [
            f"{named(key)} {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
            for key, tensor in expected.items()
            if key in state and state[key].shape != tensor.shape
        ],
    }
    if any(differences.values()):
        lists = [_listed(kind, keys, at_most or len(keys)) for kind, keys in differences.items() if keys]
        raise CheckpointMismatch("\n".join([f"the checkpoint does not fit {what}:", *lists]))
    module.load_state_dict(state, strict=True)


def _listed(kind: str, keys: Sequence[str], at_most: int) -> str:
    more = f", and {len(keys) - at_most} more" if len(keys) > at_most else ""
    return f"  {len(keys)} tensor{'s' if keys[1:] else ''} {kind}: {', '.join(keys[:at_most])}{more}"
