"""NAME and a source of weights -> a timm classifier with its weights loaded, and how to build it again."""

from __future__ import annotations

import argparse
import difflib
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import clean_state_dict
from torch import nn

from swin_handler import model
from swin_handler.build import store
from swin_handler.build.errors import BuildRefused, HubUnreachable

StateDict = dict[str, torch.Tensor]
_RANDOM_SEED = 0
_HUB_SECONDS = 5.0
_SHOWN = 10


@dataclass(frozen=True)
class Classifier:
    module: nn.Module
    """float32, on the CPU, in eval mode"""
    architecture: str
    """timm's name without tag"""
    model_args: Mapping[str, Any]
    pretrained_cfg: Mapping[str, Any]
    """timm's configuration of the weights: preprocessing, classifier, num_classes"""
    label_names: Sequence[str] | None
    source: str
    """Where the weights come from, in words."""

    @property
    def num_classes(self) -> int:
        return int(self.pretrained_cfg["num_classes"])


def load(name: str, *, checkpoint: Path | None, random_weights: bool) -> Classifier:
    """Raises BuildRefused, or HubUnreachable when the weights would have to come from there and cannot."""
    if checkpoint is not None:
        return _from_file(name, checkpoint)
    if random_weights:
        return _random(name)
    return _built_in() if name == store.BUILT_IN else _from_hub(name)


def check_name(name: str) -> None:
    if name == store.BUILT_IN:
        return
    base = name.partition(".")[0]
    if not timm.is_model(name):
        close = difflib.get_close_matches(base, [store.BUILT_IN, *timm.list_models()], n=5)
        raise BuildRefused(f"timm has no model {base!r}.{_did_you_mean(close)}")
    tags = timm.list_pretrained(f"{base}.*")
    if "." in name and name not in tags:
        raise BuildRefused(f"timm has no weights {name!r}.{_did_you_mean(tags)}")


def _did_you_mean(names: Sequence[str]) -> str:
    return f" Did you mean {', '.join(names)}?" if names else ""


def _skeleton(name: str, num_classes: int | None = None) -> Classifier:
    """The classifier with timm's initial weights."""
    if name != store.BUILT_IN:
        given: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
        module = timm.create_model(name, pretrained=False, **given)
        return _classifier(module, "none")
    folder = store.built_in_folder()
    try:
        config = json.loads((folder / model.CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildRefused(f"the built-in model cannot be read from {folder}: {error}") from error
    classes = num_classes or int(config["num_classes"])
    return Classifier(
        module=model.build(folder, num_classes=classes).eval(),
        architecture=config["architecture"],
        model_args=config.get("model_args", {}),
        pretrained_cfg={**config["pretrained_cfg"], "num_classes": classes},
        label_names=config["label_names"] if classes == config["num_classes"] else None,
        source="none",
    )


def _classifier(module: nn.Module, source: str) -> Classifier:
    cfg: Mapping[str, Any] = module.pretrained_cfg  # type: ignore[assignment]
    kept = {key: value for key, value in cfg.items() if value is not None}
    return Classifier(
        module=module.eval(),
        architecture=kept["architecture"],
        model_args={},
        pretrained_cfg={**kept, "num_classes": module.num_classes},
        label_names=None,
        source=source,
    )


def _built_in() -> Classifier:
    skeleton = _skeleton(store.BUILT_IN)
    _load_strictly(skeleton, _read(store.built_in_folder() / model.WEIGHTS_FILE))
    return _sourced(skeleton, f"built-in {store.BUILT_IN}")


def _random(name: str) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        return _sourced(_skeleton(name), "random")


def _from_hub(name: str) -> Classifier:
    reached = _hub_answers()
    try:
        module = timm.create_model(name, pretrained=True)
    except Exception as error:  # its HTTP library's, its own, the socket's, timm's for weights that nobody hosts
        first = str(error).strip().partition("\n")[0]
        reason = first if reached else f"{huggingface_hub.constants.ENDPOINT} does not answer"
        raise HubUnreachable(name, reason) from error
    cfg: Mapping[str, Any] = module.pretrained_cfg  # type: ignore[assignment]
    return _classifier(module, f"hub {cfg['hf_hub_id']}" if cfg.get("hf_hub_id") else f"url {cfg.get('url')}")


def _hub_answers() -> bool:
    """Ask once before the hub's client does, which retries for a minute; without an answer only its cache is used."""
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=_HUB_SECONDS)
    except Exception:  # noqa: BLE001 - whose exceptions these are changes with the hub client's HTTP library
        huggingface_hub.constants.HF_HUB_OFFLINE = True
        return False
    return True


def _from_file(name: str, file: Path) -> Classifier:
    state = _read(file)
    skeleton = _skeleton(name)
    state = _filtered(state, skeleton.module)
    classes = _head_classes(state, skeleton)
    if classes != skeleton.num_classes:
        skeleton = _skeleton(name, classes)
    _load_strictly(skeleton, state)
    return _sourced(skeleton, f"file {file.name}")


def _sourced(classifier: Classifier, source: str) -> Classifier:
    return Classifier(**{**vars(classifier), "source": source})


def _read(file: Path) -> StateDict:
    try:
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            # timm's own training checkpoints carry their arguments beside the tensors.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        # torch's own text advises to switch the safety off.
        raise BuildRefused(
            f"{file} cannot be read as a checkpoint of plain tensors ({type(error).__name__}).\n"
            "Pickled objects beside the tensors are refused; save the state dict alone, best as .safetensors."
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise BuildRefused(f"{file} holds no state dict: neither by itself nor under `model` or `state_dict`")
    return dict(clean_state_dict(content))


def _filtered(state: StateDict, module: nn.Module) -> StateDict:
    """Renamed from the original authors' layout to timm's, by timm's own rule for this architecture."""
    rule = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if rule is None:
        return state
    try:
        return dict(rule(state, module))
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise BuildRefused(f"the checkpoint is not one of {type(module).__name__}: {error!r}") from error


def _head_classes(state: StateDict, skeleton: Classifier) -> int:
    head = skeleton.pretrained_cfg.get("classifier")
    name = head[0] if isinstance(head, list | tuple) else head
    weight = state.get(f"{name}.weight")
    return skeleton.num_classes if weight is None else int(weight.shape[0])


def _load_strictly(classifier: Classifier, state: StateDict) -> None:
    expected = classifier.module.state_dict()
    differences = {
        "missing": [key for key in expected if key not in state],
        "surplus": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
            for key, tensor in expected.items()
            if key in state and state[key].shape != tensor.shape
        ],
    }
    if any(differences.values()):
        lists = [_listed(what, keys) for what, keys in differences.items() if keys]
        raise BuildRefused("\n".join([f"the checkpoint does not fit {classifier.architecture}:", *lists]))
    classifier.module.load_state_dict(state, strict=True)


def _listed(what: str, keys: Sequence[str]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"  {len(keys)} tensors {what}: {', '.join(keys[:_SHOWN])}{more}"
