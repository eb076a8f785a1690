"""The benchmark of the model, tried on a tiny one; what its figures are does not matter here."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from loadtests.model_bench import figures, goals, onnx_runtime, rounds, stock_timm
from loadtests.model_bench.contender import Absent, Call, Contender, Setting
from loadtests.model_bench.floor import FLOOR
from loadtests.model_bench.groups import CROSS, Choice, Group, groups
from loadtests.model_bench.measuring import Budget, measure
from loadtests.model_bench.operators import kind_of
from loadtests.model_bench.rounds import Entry
from loadtests.model_bench.rows import Row, read
from loadtests.model_bench.shapes import shapes
from loadtests.model_bench.steps import step_of
from loadtests.model_bench.subject import Subject, timm_module
from rich.console import Console

from swin_handler.models import multiply_adds

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)


def row(contender: str, seconds: float, *, group: str = "", **fields: object) -> Row:
    values = {"model": "swin_tiny", "dtype": "bfloat16", "batch": 8, "threads": 2, "round": 0, "relative_l2": 0.005}
    values |= {"build_seconds": 1.0, **fields}
    name = group or f"{values['model']} {values['dtype']} batch {values['batch']}"
    return Row(group=name, contender=contender, seconds=seconds, **values)  # type: ignore[arg-type]


def entry(name: str, make: Callable[[Subject, Setting], Call]) -> Entry:
    return Entry("micro", "float32", 2, Contender(name, make))


def right(subject: Subject, _setting: Setting) -> Call:
    return lambda: subject.expected


def test_a_smoke_run_writes_what_was_measured_a_profile_and_a_plot(tmp_path: Path) -> None:
    only = [option for name in ("timm eager", "ours, native", FLOOR) for option in ("--contenders", name)]
    only += ["--dtypes", "float32", "--smoke", "--output", str(tmp_path)]
    command = [sys.executable, str(ROOT / "loadtests" / "bench_model.py"), *only]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*-model-smoke.csv")
    (profile,) = tmp_path.glob("*-model-smoke-profile.csv")
    (picture,) = tmp_path.glob("*.png")
    by_name = {each.contender: each for each in read([path])}
    assert {FLOOR, "timm eager", "timm eager, fused attention"} <= set(by_name)
    assert by_name[FLOOR].relative_l2 is None
    assert by_name["timm eager"].relative_l2 == 0.0
    assert 0 < (by_name["timm eager, fused attention"].relative_l2 or 0) < 1e-5
    steps = {line["step"] for line in csv.DictReader(profile.read_text().splitlines())}
    assert steps == {"embed", "qkv", "attention", "projection", "mlp", "merge", "head"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "micro, float32, batch 2" in done.stdout or "ours, native" in by_name


def test_what_a_peer_lacks_is_said() -> None:
    subject = Subject.make("micro", 2)
    for contender in stock_timm.CONTENDERS:
        with pytest.raises(Absent, match="timm has no int8"):
            contender.make(subject, Setting("int8", 2))
    (onnxruntime,) = onnx_runtime.CONTENDERS
    with pytest.raises(Absent, match="no bfloat16"):
        onnxruntime.make(subject, Setting("bfloat16", 2))


@pytest.mark.parametrize("name", ["micro", "swin_tiny"])
def test_the_floor_has_the_products_of_the_model_and_nothing_else(name: str) -> None:
    module = timm_module(name)
    size = (3, 56, 56) if name == "micro" else (3, 224, 224)
    found = shapes(name, 2, size)
    counted = sum(shape.multiply_adds for shape in found) / 2
    published = multiply_adds.total(multiply_adds.count(module, size))  # norms included
    assert 0.99 * published < counted <= published
    assert {shape.kind for shape in found} == {"linear", "bmm"}
    assert len(found) == 1 + sum(6 * len(stage.blocks) for stage in module.layers) + len(module.layers)


def test_the_relative_position_bias_of_v2_is_no_part_of_the_floor() -> None:
    found = shapes("swinv2_tiny", 1, (3, 256, 256))
    assert not [shape for shape in found if "cpb_mlp" in shape.layer]
    assert sum(shape.kind == "bmm" for shape in found) == 24


def test_convolutions_of_the_floor_have_the_multiply_adds_of_the_model() -> None:
    found = shapes("resnet50", 1, (3, 224, 224))
    expected = multiply_adds.total(multiply_adds.count(timm_module("resnet50"), (3, 224, 224)))
    assert sum(shape.multiply_adds for shape in found) == expected


def test_every_contender_of_a_group_runs_in_every_round() -> None:
    ready = rounds.prepare([entry("one", right), entry("two", right)], 2, print, print)
    found = list(rounds.run(ready, "g", threads=2, rounds=4, seconds=60))
    assert [[each.contender for each in timed] for timed in found] == [["one", "two"]] * 4
    assert {each.relative_l2 for timed in found for each in timed} == {0.0}


def test_a_contender_that_is_absent_or_breaks_is_told_and_spares_the_others() -> None:
    def absent(_subject: Subject, _setting: Setting) -> Call:
        raise Absent("it is not installed")

    def broken(_subject: Subject, _setting: Setting) -> Call:
        raise RuntimeError("no kernel\nand a long story")

    told: list[str] = []
    entries = [entry("gone", absent), entry("bad", broken), entry("good", right)]
    ready = rounds.prepare(entries, 2, print, told.append)
    assert [each.entry.contender.name for each in ready] == ["good"]
    assert told == [
        "micro, float32, batch 2: gone is absent: it is not installed",
        "micro, float32, batch 2: bad FAILED: RuntimeError: no kernel",
    ]


def test_ctrl_c_keeps_the_rounds_that_were_done() -> None:
    calls = iter(range(100))

    def stopped(subject: Subject, _setting: Setting) -> Call:
        def call() -> torch.Tensor:
            if next(calls) == 5:  # one call is the check, two are a round
                raise KeyboardInterrupt
            return subject.expected

        return call

    group = Group("g", (entry("stopped", stopped),))
    kept: list[int] = []
    measured = measure([group, group], Budget(2, 10, 60.0), QUIET, lambda rows: kept.append(len(rows)))
    assert (len(measured), kept) == (2, [2])


def test_a_ratio_is_taken_within_one_group_only() -> None:
    other = [row("OpenVINO", 0.1), row("OpenVINO", 0.2)]
    assert goals.results(figures.of([row("ours, native", 0.05, group="elsewhere"), *other])) == []
    ours = [row("ours, native", 0.05), row("ours, native", 0.08), row("ours, openvino", 0.11)]
    (found,) = goals.results(figures.of([*ours, *other]))
    assert found.goal.text == "bfloat16, batch 8, Swin-T: ours / OpenVINO"
    assert found.best == pytest.approx(2.0)
    assert found.median == pytest.approx(0.15 / 0.065)
    assert found.reached


def test_the_best_of_the_others_is_the_fastest_that_answers_rightly() -> None:
    rows = [
        row("ours, native", 0.1, dtype="float32", relative_l2=1e-6),
        row("OpenVINO", 0.2, dtype="float32", relative_l2=1e-6),
        row("onnxruntime", 0.01, dtype="float32", relative_l2=0.5),
        row(FLOOR, 0.05, dtype="float32", relative_l2=None),
    ]
    (found,) = goals.results(figures.of(rows))
    assert found.other.contender == "OpenVINO"


def test_the_models_are_compared_in_a_group_of_their_own() -> None:
    found = {group.name: group for group in groups(Choice(models=("swin_tiny", "resnet50"), batches=(8,)))}
    cross = found[CROSS.format(batch=8)]
    assert {(each.model, each.dtype) for each in cross.entries} == {
        ("swin_tiny", "bfloat16"),
        ("swin_tiny", "int8"),
        ("resnet50", "bfloat16"),
    }
    alone = groups(Choice(models=("swin_tiny",), batches=(8,)))
    assert CROSS.format(batch=8) not in {group.name for group in alone}


def test_of_several_files_the_later_one_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    _write(first, [row("ours, native", 0.3), row("floor", 0.1, batch=1, relative_l2=None)])
    _write(second, [row("ours, native", 0.2)])
    assert read([first, second]) == [row("ours, native", 0.2), row("floor", 0.1, batch=1, relative_l2=None)]


@pytest.mark.parametrize(
    ("layer", "step"),
    [
        ("patch_embed.proj", "embed"),
        ("layers.0.blocks.1.norm1", "qkv"),
        ("layers.2.blocks.5.attn.qkv", "qkv"),
        ("layers.2.blocks.5.attn", "attention"),
        ("layers.2.blocks.5", "attention"),
        ("layers.2.blocks.5.attn.proj", "projection"),
        ("layers.2.blocks.5.mlp.fc1", "mlp"),
        ("layers.1.downsample.norm", "merge"),
        ("norm", "head"),
        ("head.fc", "head"),
    ],
)
def test_a_layer_of_timm_belongs_to_a_step_of_ours(layer: str, step: str) -> None:
    assert step_of(layer) == step


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("addmm", "linear layers"),
        ("mm", "linear layers"),
        ("bmm", "products of attention"),
        ("index", "bias gather"),
        ("_softmax", "softmax"),
        ("native_layer_norm", "norms"),
        ("copy_", "copies: partition, reverse, heads"),
        ("view", "everything else"),
    ],
)
def test_an_operator_of_torch_is_there_for_something(operator: str, kind: str) -> None:
    assert kind_of(operator) == kind


def _write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, asdict(rows[0]).keys())
        writer.writeheader()
        writer.writerows(each.as_line() for each in rows)
