"""Checkpoints and archives -> the tables of `swinserve models`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from swin_handler.build import released, store
from swin_handler.build import table as tables
from swin_handler.build.built import Built
from swin_handler.build.released import Checkpoint
from swin_handler.config import Manifest

_WIDE = 150
"""Columns from which a table also has what `swinserve info` would tell."""
_NUMBERS = (
    "Top-1",
    "Top-1\nauthors'",
    "Top-1\ntimm's",
    "Input",
    "Parameters",
    "Multiply-adds",
    "Multiply-\nadds",
    "Classes",
    "Size",
)


def show(checkpoints: Sequence[Checkpoint], archives: Sequence[Built], folder: Path, *, say_if_empty: bool) -> None:
    console = tables.console()
    wide = console.width >= _WIDE
    if checkpoints:
        console.print(_released(checkpoints, wide), "", _commands(checkpoints), "", sep="\n")
    if archives:
        console.print(Text(f"Built, in {folder}", style="bold"), soft_wrap=True)
        console.print("", _built(archives, wide), sep="\n")
        for archive in archives:
            if archive.problem:
                console.print(Text(f"{archive.identity}: {archive.problem}", style="red"), soft_wrap=True)
    elif say_if_empty:
        console.print(Text(f"Nothing is built in {folder}; begin with: swinserve build {store.BUILT_IN}"))


def _released(checkpoints: Sequence[Checkpoint], wide: bool) -> Table:
    headers: tuple[str, ...] = ("Name", "Top-1", "Input", "Multiply-adds")
    if wide:
        headers = (
            "Name",
            "Top-1\nauthors'",
            "Top-1\ntimm's",
            "Input",
            "Parameters",
            "Multiply-\nadds",
            "Official file",
        )
    table = tables.table(*headers, numbers=_NUMBERS)
    for family, title in released.FAMILIES.items():
        rows = [checkpoint for checkpoint in checkpoints if checkpoint.family == family]
        if rows and table.row_count:
            table.add_row()
        if rows:
            table.add_row(Text(title, style="bold cyan"))
        for checkpoint in rows:
            table.add_row(*map(Text, _row(checkpoint, wide)))
    return table


def _row(checkpoint: Checkpoint, wide: bool) -> tuple[str, ...]:
    authors, timms = _percent(checkpoint.top1_official, 1), _percent(checkpoint.top1_timm, 2)
    input_size, multiply_adds = str(checkpoint.input_size), tables.short(checkpoint.multiply_adds)
    if not wide:
        return (checkpoint.name, timms or authors, input_size, multiply_adds)
    parameters = tables.short(checkpoint.parameters)
    return (checkpoint.name, authors, timms, input_size, parameters, multiply_adds, checkpoint.file)


def _percent(top1: float | None, digits: int) -> str:
    return "" if top1 is None else f"{top1:.{digits}f}"


def _commands(checkpoints: Sequence[Checkpoint]) -> Table:
    """How to go on, with the first names of the table."""
    commands = {"more about one": f"swinserve info {checkpoints[0].name}"}
    for checkpoint in checkpoints:
        if checkpoint.tag:
            commands.setdefault("build from the hub", f"swinserve build {checkpoint.name}")
        if checkpoint.file:
            command = f"swinserve build {checkpoint.model} --checkpoint {checkpoint.file}"
            commands.setdefault("build from a file", command)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for what, command in commands.items():
        grid.add_row(Text(what, style="dim"), Text(command))
    return grid


def _built(archives: Sequence[Built], wide: bool) -> Table:
    headers = ("Name", "Input", "Classes", "Weights", "Size", "Date")
    table = tables.table(*headers, *(("Architecture",) if wide else ()), numbers=_NUMBERS)
    for archive in archives:
        manifest = archive.manifest
        about = _facts(manifest) if manifest else ("", "", Text("(cannot be served)", style="red"))
        written = f"{archive.written:%Y-%m-%d}"
        cells = (archive.identity, *about, f"{archive.size / 1e6:.1f} MB", written)
        architecture = manifest.architecture if manifest else ""
        table.add_row(*map(_text, cells), *((Text(architecture),) if wide else ()))
    return table


def _facts(manifest: Manifest) -> tuple[str, str, str]:
    height, width = manifest.input_size[1:]
    edge = str(height) if height == width else tables.size((height, width))
    return edge, str(manifest.num_classes), manifest.weights


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell
