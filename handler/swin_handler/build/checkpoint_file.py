"""A file of weights -> its tensors by name; nothing but tensors is ever unpickled."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import clean_state_dict

from swin_handler.build.errors import BuildRefused

StateDict = dict[str, torch.Tensor]


def read(file: Path) -> StateDict:
    """A .safetensors file, or a .pth that holds a state dict bare or under `model` or `state_dict`.

    Raises BuildRefused for anything else, pickled objects among it.
    """
    content = _content(file)
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise BuildRefused(f"{file} holds no state dict: neither by itself nor under `model` or `state_dict`")
    return dict(clean_state_dict(content))


def _content(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # timm's own training checkpoints carry their arguments beside the tensors.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        # torch's own text advises to switch the safety off.
        raise BuildRefused(
            f"{file} cannot be read as a checkpoint of plain tensors ({type(error).__name__}).\n"
            "Pickled objects beside the tensors are refused; save the state dict alone, best as .safetensors."
        ) from error
