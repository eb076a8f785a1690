"""NAME -> all that can be told of a model without its weights: nothing is downloaded, nothing but shapes computed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from swin_handler import model
from swin_handler.build import built, classifier, labels, official, released, store, weights
from swin_handler.build.built import Built
from swin_handler.build.classifier import Design
from swin_handler.build.errors import BuildRefused
from swin_handler.build.evaluation import Evaluation
from swin_handler.build.released import Checkpoint
from swin_handler.models import multiply_adds
from swin_handler.models.multiply_adds import Part
from swin_handler.models.shunted import ShuntedTransformer

_PAPERS: Mapping[type[nn.Module], str] = {
    SwinTransformer: "Swin V1, arXiv 2103.14030",
    SwinTransformerV2: "Swin V2, arXiv 2111.09883",
    ShuntedTransformer: "Shunted, arXiv 2111.15193",
}


@dataclass(frozen=True)
class About:
    name: str
    architecture: str
    """timm's name without tag"""
    family: str
    """With its paper for the families of this project, else the name of timm's class."""
    parameters: int
    parts: tuple[Part, ...]
    """Whose multiply-adds are those of one image."""
    data_config: Mapping[str, Any]
    """timm's preprocessing, as it is served: input_size, interpolation, crop_pct, crop_mode, mean, std"""
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    """Where the weights come from, in words."""
    licence: str
    """Empty: timm does not say."""
    checkpoint: Checkpoint | None
    """What is published of these weights."""
    others: Mapping[str, Evaluation]
    """Who preprocesses for the same weights in another way -> how."""
    archive: Built | None = None
    """The archive that NAME is."""
    archives: tuple[Built, ...] = ()
    """What is built of the same architecture."""

    @property
    def multiply_adds(self) -> int:
        return multiply_adds.total(self.parts)

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation.of(self.data_config)


def find(name: str, folder: Path) -> About:
    """name: swin_digits, a timm classifier with or without tag, an official file's name, NAME@VERSION or the name of
    an archive in the model store `folder`, or a path to a .mar. Raises BuildRefused for another, with what is close."""
    if name.endswith(".mar") or "@" in name:
        archive = built.find(name, folder)
        assert archive is not None, "a path or a version that is not there is refused"
        return _of_archive(archive)
    if checkpoint := released.of_file(Path(name).name):
        return _of_file(checkpoint, folder)
    try:
        weights.check_name(name)
    except BuildRefused as error:
        # A name that somebody gave with `swinserve build --name`.
        if archive := built.find(name, folder):
            return _of_archive(archive)
        if name.endswith((".pth", ".pt", ".safetensors")):
            raise BuildRefused(
                f"{name} is no released file's name. `swinserve build MODEL --checkpoint {name}` reads a file of "
                "your own; then `swinserve info MODEL@1.0` tells of the archive."
            ) from error
        raise
    return _of_weights(name, folder)


def _of_weights(name: str, folder: Path) -> About:
    design = classifier.design(name)
    tag = design.pretrained_cfg.get("tag")
    whole = name if "." in name or not tag or name == store.BUILT_IN else f"{name}.{tag}"
    checkpoint = released.of_name(whole)
    return _about(
        whole,
        _shapes(lambda: classifier.skeleton(name).module),
        design,
        checkpoint=checkpoint,
        sources=_sources(whole, design, checkpoint),
        archives=_archives_of(design, name, folder),
    )


def _of_file(checkpoint: Checkpoint, folder: Path) -> About:
    """Weights that come in the authors' own file are served with the authors' preprocessing, as the builder has it."""
    design = classifier.design(checkpoint.name)
    theirs = {**design.pretrained_cfg, **_authors_evaluation(checkpoint)}
    return _about(
        checkpoint.file,
        _shapes(lambda: classifier.skeleton(checkpoint.name).module),
        replace(design, pretrained_cfg=theirs),
        checkpoint=checkpoint,
        sources=_sources(checkpoint.name, design, checkpoint),
        archives=_archives_of(design, checkpoint.name, folder),
    )


def _of_archive(archive: Built) -> About:
    if archive.manifest is None:
        raise BuildRefused(f"{archive.path}: {archive.problem}")
    config, names = built.member(archive.path, model.CONFIG_FILE), built.member(archive.path, model.LABELS_FILE)
    design = Design(config["architecture"], config.get("model_args", {}), config["pretrained_cfg"], names)
    return _about(
        archive.identity,
        _shapes(lambda: _architecture(config)),
        design,
        checkpoint=released.of_weights(
            archive.manifest.weights,
            input_size=archive.manifest.input_size,
            classes=archive.manifest.num_classes,
            model_args=design.model_args,
        ),
        sources=(archive.manifest.weights,),
        archive=archive,
    )


def _about(name: str, module: nn.Module, design: Design, *, checkpoint: Checkpoint | None, **known: Any) -> About:
    data_config = model.preprocessing(design.pretrained_cfg)
    num_classes = int(design.pretrained_cfg["num_classes"])
    return About(
        name=name,
        architecture=design.architecture,
        family=_family(module),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        parts=_parts(module, data_config["input_size"], design.architecture),
        data_config=data_config,
        labels=tuple(labels.choose(num_classes, file=None, own=design.label_names)),
        licence=str(design.pretrained_cfg.get("license") or ""),
        checkpoint=checkpoint,
        others=_others(checkpoint, data_config),
        **known,
    )


def _family(module: nn.Module) -> str:
    papers = (paper for kind, paper in _PAPERS.items() if isinstance(module, kind))
    return next(papers, type(module).__name__)


def _shapes(make: Callable[[], nn.Module]) -> nn.Module:
    """The module without memory for its weights; with it, where its constructor computes with them."""
    try:
        with torch.device("meta"):
            module = make()
    except (BuildRefused, RuntimeError):
        module = make()
    return module.eval()


def _parts(module: nn.Module, input_size: Sequence[int], architecture: str) -> tuple[Part, ...]:
    try:
        return multiply_adds.count(module, input_size)
    except Exception as error:  # whatever the forward pass of some architecture of timm's raises
        raise BuildRefused(f"{architecture} does not take an image of {tuple(input_size)}: {error}") from error


def _architecture(config: Mapping[str, Any]) -> nn.Module:
    """As the worker builds it."""
    with tempfile.TemporaryDirectory(prefix="swinserve-info-") as scratch:
        (Path(scratch) / model.CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        return model.build(Path(scratch), num_classes=int(config["num_classes"]))


def _others(checkpoint: Checkpoint | None, served: Mapping[str, Any]) -> dict[str, Evaluation]:
    if checkpoint is None or not checkpoint.file:
        return {}
    timms = model.preprocessing(classifier.design(checkpoint.name).pretrained_cfg)
    both = {"timm": timms, "the authors": {**timms, **_authors_evaluation(checkpoint)}}
    evaluations = {who: Evaluation.of(data_config) for who, data_config in both.items()}
    return {who: evaluation for who, evaluation in evaluations.items() if evaluation != Evaluation.of(served)}


def _authors_evaluation(checkpoint: Checkpoint) -> dict[str, Any]:
    return official.evaluation(checkpoint.family, (checkpoint.input_size, checkpoint.input_size))


def _sources(name: str, design: Design, checkpoint: Checkpoint | None) -> tuple[str, ...]:
    if name == store.BUILT_IN:
        return (f"built-in {name}",)
    hub, url = design.pretrained_cfg.get("hf_hub_id"), design.pretrained_cfg.get("url")
    known = [f"hub {hub}"] if hub else []
    if checkpoint and checkpoint.file:
        known += [f"file {checkpoint.file}", checkpoint.url]
    elif url:
        known.append(str(url))
    return tuple(known) or ("none published: build it with --checkpoint FILE or --random-weights",)


def _archives_of(design: Design, name: str, folder: Path) -> tuple[Built, ...]:
    """What is built of the same architecture; the built-in model is a timm architecture in another size."""
    weights_of = f"built-in {store.BUILT_IN}"
    return tuple(
        archive
        for archive in built.archives(folder)
        if archive.manifest
        and archive.manifest.architecture == design.architecture
        and (archive.manifest.weights == weights_of) == (name == store.BUILT_IN)
    )
