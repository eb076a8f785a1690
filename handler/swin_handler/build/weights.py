"""NAME and a source of weights -> a timm classifier with its weights loaded, and how to build it again."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import timm
import torch

from swin_handler import model
from swin_handler.build import hub, official, store
from swin_handler.build.checkpoint_file import StateDict, read
from swin_handler.build.classifier import Changes, Classifier, design, skeleton
from swin_handler.build.errors import BuildRefused
from swin_handler.models import CheckpointMismatch
from swin_handler.models.checkpoint import load_strictly, official_family, official_name, timm_layout

_RANDOM_SEED = 0
_SHOWN = 10


def load(
    name: str, *, checkpoint: Path | None = None, random_weights: bool = False, changes: Changes | None = None
) -> Classifier:
    """Raises BuildRefused, or HubUnreachable when the weights would have to come from there and cannot."""
    changes = changes or Changes()
    if random_weights:
        return _random(name, changes)
    if checkpoint is not None:
        return _loaded(name, checkpoint, changes, f"file {checkpoint.name}")
    if name == store.BUILT_IN:
        return _loaded(name, store.built_in_folder() / model.WEIGHTS_FILE, changes, f"built-in {store.BUILT_IN}")
    file = hub.fetch(design(name).pretrained_cfg, name)
    return _loaded(name, file.path, changes, file.source)


def check_name(name: str) -> None:
    """Raises BuildRefused, with what is close, for what neither timm nor this project knows."""
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


def _random(name: str, changes: Changes) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        return replace(skeleton(name, changes), source="random")


def _loaded(name: str, file: Path, changes: Changes, source: str) -> Classifier:
    state, notes = read(file)
    classifier = _fitted(name, state, changes)
    return replace(classifier, source=source, notes=(*notes, *classifier.notes))


def _fitted(name: str, state: StateDict, changes: Changes) -> Classifier:
    """The model of NAME, with as many classes as the checkpoint's head has and those weights."""
    classifier = skeleton(name, changes)
    fitting = _filtered(state, classifier)
    head = fitting.get(f"{classifier.head}.weight")
    if head is not None and not changes.headless and len(head) != classifier.num_classes:
        classifier = skeleton(name, changes, num_classes=len(head))
    family = official_family(state)
    if family is not None:
        classifier = official.preprocessed(classifier, family)
    classifier = classifier.noted(*_resized(timm_layout(state) if family else state, fitting))
    if changes.headless:
        fitting, note = _without_head(name, fitting, changes)
        classifier = classifier.noted(note)
    named = official_name if family in ("swin", "swinv2") else str
    try:
        load_strictly(classifier.module, fitting, classifier.architecture, named=named, at_most=_SHOWN)
    except CheckpointMismatch as error:
        raise BuildRefused("\n".join([str(error), *_hints(fitting, classifier, family)])) from error
    return classifier


def _filtered(state: StateDict, classifier: Classifier) -> StateDict:
    """Renamed from the original authors' layout to timm's, and resized, by timm's own rule for this architecture."""
    module = classifier.module
    rule = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if rule is None:
        return state
    try:
        with warnings.catch_warnings():
            # What torch says of the indexing in timm's interpolation of position tables.
            warnings.filterwarnings("ignore", message=r"Using a non-tuple sequence|torch\.searchsorted")
            return dict(rule(state, module))
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError, AssertionError) as error:
        raise BuildRefused(f"the checkpoint is not one of {classifier.architecture}: {error!r}") from error


def _resized(before: StateDict, after: StateDict) -> list[str]:
    """A line on the tensors that timm's rule has given another shape."""
    changed = [key for key, tensor in after.items() if key in before and before[key].shape != tensor.shape]
    if not changed:
        return []
    shapes = f"{tuple(before[changed[0]].shape)} → {tuple(after[changed[0]].shape)}"
    return [f"{len(changed)} tensors resized as timm does it: {changed[0]} {shapes}{', …' if changed[1:] else ''}"]


def _without_head(name: str, state: StateDict, changes: Changes) -> tuple[StateDict, str]:
    """What the model without a head takes of a checkpoint that may have one."""
    with torch.device("meta"):
        full = skeleton(name, replace(changes, headless=False)).module.state_dict()
        bare = skeleton(name, changes).module.state_dict()
    dropped = [key for key in state if key in full and key not in bare]
    kept = {key: tensor for key, tensor in state.items() if key not in dropped}
    return kept, f"without a head: {', '.join(dropped) or 'the checkpoint has none'}"


def _hints(state: StateDict, classifier: Classifier, family: str | None) -> list[str]:
    """What may explain that the checkpoint does not fit."""
    hints = []
    if family is not None:
        hints.append(f"The file is in the layout of the authors of {official.FAMILIES[family]}.")
    lacking = [key for key in classifier.module.state_dict() if key not in state]
    if lacking and all(key.startswith(f"{classifier.head}.") for key in lacking):
        hints.append("It has no head; --no-head serves its embeddings.")
    return hints
