"""released.toml: what it says is what the architectures, timm and the authors say, and what the page says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from swin_handler import models
from swin_handler.build import classifier, released, store
from swin_handler.build.released import Checkpoint
from swin_handler.build.table import short
from swin_handler.models import multiply_adds

CHECKPOINTS = released.checkpoints()
SWIN = [checkpoint for checkpoint in CHECKPOINTS if checkpoint.family in ("swin", "swinv2")]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "models.md"

# Of the official implementation's own flops().
EXACT = {
    "swin_tiny_patch4_window7_224": (4_494_405_120, 28_288_354),
    "swin_small_patch4_window7_224": (8_746_520_064, 49_606_258),
    "swin_base_patch4_window12_384": (47_105_253_376, 87_903_584),
    "swinv2_tiny_window8_256": (5_925_697_536, 28_347_154),
    "swinv2_tiny_window16_256": (6_605_174_784, 28_347_154),
}
# 10⁹ multiply-adds with 1000 classes, as the authors print them: microsoft/Swin-Transformer, MODELHUB.md; the paper of
# the Shunted Transformer.
PRINTED = {
    "swin_tiny_patch4_window7_224": 4.5,
    "swin_small_patch4_window7_224": 8.7,
    "swin_base_patch4_window7_224": 15.4,
    "swin_large_patch4_window7_224": 34.5,
    "swin_base_patch4_window12_384": 47.1,
    "swin_large_patch4_window12_384": 103.9,
    "swinv2_tiny_window8_256": 5.9,
    "swinv2_tiny_window16_256": 6.6,
    "swinv2_small_window8_256": 11.5,
    "swinv2_small_window16_256": 12.6,
    "swinv2_base_window8_256": 20.3,
    "swinv2_base_window16_256": 21.8,
    "swinv2_base_window12to16_192to256": 21.8,
    "swinv2_base_window12to24_192to384": 54.7,
    "swinv2_large_window12to16_192to256": 47.5,
    "swinv2_large_window12to24_192to384": 115.4,
    "shunted_tiny": 2.1,
    "shunted_small": 4.9,
    "shunted_base": 8.1,
}


def one(model: str) -> Checkpoint:
    return next(checkpoint for checkpoint in CHECKPOINTS if checkpoint.model == model and checkpoint.classes == 1000)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda checkpoint: checkpoint.name)
def test_size_and_multiply_adds_are_those_of_the_architecture(checkpoint: Checkpoint) -> None:
    with torch.device("meta"):
        built = classifier.skeleton(checkpoint.name)
    module = built.module.requires_grad_(False)
    size = built.pretrained_cfg["input_size"]
    assert tuple(size) == (3, checkpoint.input_size, checkpoint.input_size)
    assert built.num_classes == checkpoint.classes
    assert sum(parameter.numel() for parameter in module.parameters()) == checkpoint.parameters
    assert multiply_adds.total(multiply_adds.count(module, size)) == checkpoint.multiply_adds


@pytest.mark.parametrize("model", EXACT)
def test_figures_equal_the_reference_implementations(model: str) -> None:
    assert (one(model).multiply_adds, one(model).parameters) == EXACT[model]


@pytest.mark.parametrize("model", PRINTED)
def test_multiply_adds_are_what_the_authors_print(model: str) -> None:
    # They cut or round, as the case may be.
    assert PRINTED[model] - 0.05 <= one(model).multiply_adds / 1e9 < PRINTED[model] + 0.1


@pytest.mark.parametrize("checkpoint", SWIN, ids=lambda checkpoint: checkpoint.name)
def test_tag_and_official_file_are_the_same_weights_to_timm(checkpoint: Checkpoint) -> None:
    cfg = timm.get_pretrained_cfg(checkpoint.name)
    assert (cfg.url, cfg.hf_hub_id) == (checkpoint.url, f"timm/{checkpoint.name}")
    assert checkpoint.url.endswith(f"/{checkpoint.file}")


@pytest.mark.parametrize("checkpoint", SWIN, ids=lambda checkpoint: checkpoint.name)
def test_the_window_is_that_of_the_first_stage(checkpoint: Checkpoint) -> None:
    with torch.device("meta"):
        module = classifier.skeleton(checkpoint.name).module
    assert module.layers[0].blocks[0].window_size == (checkpoint.window, checkpoint.window)


def test_every_published_swin_and_every_shunted_is_listed_once() -> None:
    published = timm.list_pretrained(["swin_*_patch4_*", "swinv2_*_window*"])
    assert sorted(checkpoint.name for checkpoint in SWIN) == sorted(published)
    shunted = [checkpoint.name for checkpoint in CHECKPOINTS if checkpoint.family == "shunted"]
    assert sorted(shunted) == sorted(models.shunted.default_cfgs)
    for names in ([c.name for c in CHECKPOINTS], [c.file for c in CHECKPOINTS if c.file]):
        assert len(names) == len(set(names))


def test_baselines_are_timms_and_have_no_figure_of_the_authors() -> None:
    for checkpoint in CHECKPOINTS:
        if checkpoint.family == "baseline":
            assert timm.list_pretrained(checkpoint.name) == [checkpoint.name]
            assert (checkpoint.file, checkpoint.top1_official) == ("", None)


def test_top_1_of_authors_and_timm_are_near_each_other() -> None:
    """A figure in the wrong row would be farther off: steps between sizes are 0.3 and more."""
    both = [c for c in CHECKPOINTS if c.top1_official is not None and c.top1_timm is not None]
    assert len(both) == 20
    for checkpoint in both:
        assert abs(checkpoint.top1_official - checkpoint.top1_timm) < 0.2, checkpoint.name


def test_a_checkpoint_is_found_by_its_names() -> None:
    tiny = released.of_name("swin_tiny_patch4_window7_224.ms_in1k")
    assert tiny is not None
    assert tiny is released.of_file("swin_tiny_patch4_window7_224.pth")
    assert released.of_name("shunted_tiny") is released.of_file("ckpt_T.pth")
    assert released.of_name("swin_tiny_patch4_window7_224") is None, "which weights is not said"
    assert released.of_file("") is None
    assert released.of_name(store.BUILT_IN) is CHECKPOINTS[0]


def test_the_digits_figure_is_that_of_the_model_s_own_test() -> None:
    metrics = json.loads((store.built_in_folder() / "metrics.json").read_text())
    assert CHECKPOINTS[0].top1_digits == metrics["committed"]["test"]["accuracy"]["dark-on-light"]
    assert f"of {metrics['split']['test']} held-out digits" in CHECKPOINTS[0].accuracy


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({}, True),
        ({"model_args": {"window_size": 7}}, True),
        ({"model_args": {"window_size": 14}}, False),
        ({"input_size": (3, 448, 448)}, False),
        ({"classes": 0}, False),
        ({"weights": "file swin_tiny_patch4_window7_224.ms_in1k"}, False),
        ({"weights": "random"}, False),
    ],
)
def test_published_figures_are_those_of_weights_served_unchanged(changes: dict[str, Any], known: bool) -> None:
    name = "swin_tiny_patch4_window7_224.ms_in1k"
    facts = {"weights": f"hub timm/{name}", "input_size": (3, 224, 224), "classes": 1000, "model_args": {}} | changes
    assert released.of_weights(**facts) is (released.of_name(name) if known else None)


GOOD = """
[[checkpoint]]
model = "m"
family = "swin"
trained_on = "in1k"
classes = 2
input_size = 4
parameters = 1
multiply_adds = 1
"""


def test_a_checkpoint_needs_no_more_than_it_must() -> None:
    (checkpoint,) = released.parse(GOOD)
    assert (checkpoint.name, checkpoint.window, checkpoint.top1_timm) == ("m", 0, None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + "top_1 = 81.2", "checkpoint m: unknown top_1; known are model, family"),
        (GOOD.replace("classes = 2", ""), "checkpoint m: classes is missing"),
        (GOOD.replace("classes = 2", 'classes = "2"'), "checkpoint m: classes has a value"),
        (GOOD + "top1_timm = 81", "checkpoint m: top1_timm has a value"),
        (GOOD.replace('"swin"', '"swine"'), "checkpoint m: family has a value"),
        ("[[model]]", "unknown model; known is checkpoint"),
    ],
)
def test_a_slip_in_the_file_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        released.parse(text)


def page_rows() -> list[str]:
    """The lines of the table in docs/reference/models.md."""
    rows = []
    for checkpoint in CHECKPOINTS:
        top1 = (f"{value:.{digits}f}" if value is not None else "–" for value, digits in _figures(checkpoint))
        file = f"[{checkpoint.file}]({checkpoint.url})" if checkpoint.file else "–"
        size = f"{checkpoint.input_size} | {checkpoint.window or '–'} | {checkpoint.classes}"
        costs = f"{short(checkpoint.parameters)} | {short(checkpoint.multiply_adds)}"
        cells = [f"`{checkpoint.name}`", checkpoint.trained_on, *top1, size, costs, file]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _figures(checkpoint: Checkpoint) -> tuple[tuple[float | None, int], ...]:
    return (checkpoint.top1_official, 1), (checkpoint.top1_timm, 2)


def test_the_page_has_the_files_table() -> None:
    _, _, table = PAGE.read_text(encoding="utf-8").partition("## Released checkpoints")
    in_page = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert in_page == page_rows(), "copy page_rows() into the page"
