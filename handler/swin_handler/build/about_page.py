"""`About` -> the page of `swinserve info`, and its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from swin_handler.build import table as tables
from swin_handler.build import timings
from swin_handler.build.about import About
from swin_handler.build.built import Built
from swin_handler.build.evaluation import normalisation
from swin_handler.models.multiply_adds import Part, Windows

_SHOWN_LABELS = 3
_ATTENTION = Text("Attention alone: within windows, and what it would be over the whole map.", style="dim")


def show(about: About) -> None:
    console = tables.console()
    console.print(Text(about.name, style="bold"), "", sep="\n", soft_wrap=True)
    console.print(_facts(about), "", sep="\n")
    console.print(_multiply_adds(about.parts))
    if any(part.windows for part in about.parts):
        console.print("", _ATTENTION, "", _attention(about.parts), sep="\n")
    if about.archive and about.archive.manifest and about.archive.manifest.engine.timings:
        console.print("", timings.report(about.archive.manifest.engine), sep="\n")


def as_json(about: About) -> dict[str, Any]:
    checkpoint = asdict(about.checkpoint) if about.checkpoint else None
    manifest = about.archive.manifest if about.archive else None
    return {
        "name": about.name,
        "architecture": about.architecture,
        "family": about.family,
        "parameters": about.parameters,
        "multiply_adds": about.multiply_adds,
        "parts": [asdict(part) for part in about.parts],
        "preprocessing": {**about.data_config, "words": str(about.evaluation)},
        "other_preprocessing": {who: str(evaluation) for who, evaluation in about.others.items()},
        "num_classes": len(about.labels),
        "labels": about.labels,
        "sources": about.sources,
        "licence": about.licence,
        "released": checkpoint,
        "manifest": manifest.as_json() if manifest else None,
        "built": [archive.identity for archive in about.archives],
    }


def _facts(about: About) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for what, value in _rows(about):
        grid.add_row(what, Text(value))
    return grid


def _rows(about: About) -> Iterator[tuple[str, str]]:
    yield "architecture", f"{about.architecture} ({about.family})"
    yield "parameters", f"{tables.short(about.parameters)} ({about.parameters:,})"
    yield "multiply-adds", f"{tables.short(about.multiply_adds)} an image ({about.multiply_adds:,})"
    yield from _accuracy(about)
    yield "input", tables.size(about.data_config["input_size"])
    yield from _preprocessing(about)
    yield "labels", _first(about.labels)
    yield "weights", "\n".join(about.sources)
    if about.licence:
        yield "licence", about.licence
    if about.archive:
        yield from _archive(about.archive)
    if about.archives:
        yield "built", ", ".join(archive.identity for archive in about.archives)


def _accuracy(about: About) -> Iterator[tuple[str, str]]:
    checkpoint = about.checkpoint
    if checkpoint is None:
        return
    if checkpoint.accuracy:
        yield "top-1", checkpoint.accuracy
    steps = checkpoint.trained_on.split("→")
    yield "trained on", " → ".join(f"ImageNet-{step[2:]}" if step.startswith("in") else step for step in steps)


def _preprocessing(about: About) -> Iterator[tuple[str, str]]:
    yield "preprocessing", str(about.evaluation)
    yield "", f"crop_pct {about.data_config['crop_pct']:.4g}, {normalisation(about.data_config)}"
    for who, evaluation in about.others.items():
        yield f"  {who}", str(evaluation)


def _first(labels: Sequence[str]) -> str:
    if not labels:
        return "none: no head, it gives embeddings alone"
    shown = "; ".join(labels[:_SHOWN_LABELS])
    return f"{len(labels)}: {shown}{'; …' if len(labels) > _SHOWN_LABELS else ''}"


def _archive(archive: Built) -> Iterator[tuple[str, str]]:
    manifest = archive.manifest
    assert manifest is not None, "a broken archive is refused"
    yield "embedding", f"{manifest.embedding_size} numbers" if manifest.embedding_size else "none"
    if manifest.num_classes:
        maps = manifest.activation_map
        yield "activation map", f"{tables.size(maps)}, exact" if maps else "none: no class logit is the mean of one"
    yield "serves with", f"{', '.join(dict.fromkeys(manifest.engine.choice.values()))} in {manifest.engine.dtype}"
    buckets = ", ".join(map(str, manifest.batch_buckets))
    yield "batches of", f"{buckets}; workers: {manifest.workers}"
    yield "archive", f"{archive.path} ({archive.size / 1e6:.1f} MB, {archive.written:%Y-%m-%d %H:%M})"


def _multiply_adds(parts: Sequence[Part]) -> Table:
    """One row a part, and the whole."""
    table = tables.table("Part", "Multiply-adds", "Share", numbers=("Multiply-adds", "Share"))
    total = sum(part.multiply_adds for part in parts)
    for part in parts:
        share = part.multiply_adds / total if total else 0.0
        table.add_row(part.name, tables.short(part.multiply_adds), f"{share:.1%}")
    table.add_row("whole", tables.short(total), "", style="bold")
    return table


def _attention(parts: Sequence[Part]) -> Table:
    """What windows save: Ω(W-MSA) against Ω(MSA), stage by stage."""
    numbers = ("Windows", "Global", "Less")
    table = tables.table("Part", "Map", "Window", *numbers, numbers=numbers)
    windowed = [(part.name, part.windows) for part in parts if part.windows]
    for name, windows in windowed:
        table.add_row(name, tables.size(windows.map_size), tables.size(windows.window), *_saving([windows]))
    table.add_row("whole", "", "", *_saving([windows for _, windows in windowed]), style="bold")
    return table


def _saving(stages: Sequence[Windows]) -> tuple[str, str, str]:
    within, everywhere = sum(stage.windowed for stage in stages), sum(stage.everywhere for stage in stages)
    return tables.short(within), tables.short(everywhere), f"{everywhere / within:.1f}×"
