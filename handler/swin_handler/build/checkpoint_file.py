"""A file of weights -> its tensors by name; nothing but tensors is ever unpickled."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import clean_state_dict

from swin_handler.build.errors import BuildRefused

StateDict = dict[str, torch.Tensor]

_AVERAGED = ("state_dict_ema", "model_ema")
"""Where timm's training script keeps the weights whose accuracy it reports; timm's own loader prefers them."""
_KEYS = (*_AVERAGED, "model", "state_dict")


_ALLOWED: list[Any] = [argparse.Namespace, (OrderedDict, "yacs.config.CfgNode")]
"""What may lie beside the tensors, unread: timm's and the Shunted authors' arguments; the Swin authors' settings, which
become a plain dictionary."""


def read(file: Path) -> tuple[StateDict, list[str]]:
    """The tensors of a .safetensors file, or of a .pth that holds them bare or under one of the usual keys; and what is
    to be said of the choice.

    Raises BuildRefused for anything else, pickled objects among it.
    """
    content, notes = _content(file), []
    key = next((key for key in _KEYS if isinstance(content, dict) and isinstance(content.get(key), dict)), None)
    if key in _AVERAGED:
        notes.append(f"the averaged weights of the file are taken ({key}), as timm does")
    state = content if key is None else content[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BuildRefused(f"{file} holds no state dict: neither by itself nor under {', '.join(_KEYS)}")
    return dict(clean_state_dict(state)), notes


def _content(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        # torch's own text advises to switch the safety off.
        raise BuildRefused(
            f"{file} cannot be read as a checkpoint of plain tensors ({type(error).__name__}{_pickled(file)}).\n"
            "Pickled objects beside the tensors are refused; save the state dict alone, best as .safetensors."
        ) from error


def _pickled(file: Path) -> str:
    """The classes that stand in the way, if the file can say."""
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # noqa: BLE001 - whatever noise makes an unpickler raise; the refusal stands without it
        return ""
    return f": {', '.join(sorted(names))}" if names else ""
