"""`swinserve models`: what can be built, and what is built."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from swin_handler.build import built, model_tables, options, released, store
from swin_handler.build.built import Built
from swin_handler.build.errors import BuildRefused
from swin_handler.build.released import Checkpoint


@click.command()
@click.argument("pattern", default="")
@click.option("--built", "only_built", is_flag=True, help="Only what is built.")
@click.option("--all", "every", is_flag=True, help="Every model of timm, one name a line.")
@options.model_store
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def models(pattern: str, only_built: bool, every: bool, model_store: Path | None, as_json: bool) -> None:
    """List the models that can be built, and those that are.

    PATTERN picks names: 'swinv2*', or a part of the name: 22k. Top-1 is per cent of ImageNet-1k's validation images, as
    timm measured it if it did, else as the authors did. `swinserve info NAME` tells more about one.

    Exit codes: 0 listed, 2 nothing has such a name.
    """  # fmt: skip
    if every and only_built:
        raise click.UsageError("--all and --built exclude each other")
    if every:
        _print_names(_found(pattern, _every_name(), "timm has no model"), as_json)
        return
    folder = store.resolve(model_store)
    archives = [archive for archive in built.archives(folder) if _matches(pattern, _names_of_archive(archive))]
    checkpoints = [] if only_built else [c for c in released.checkpoints() if _matches(pattern, (c.name, c.file))]
    if pattern and not archives and not checkpoints:
        where = f"in {folder}" if only_built else "here; --all looks through every model of timm"
        raise BuildRefused(f"nothing is named {pattern!r} {where}")
    if as_json:
        _print_json(checkpoints, archives)
    else:
        model_tables.show(checkpoints, archives, folder, say_if_empty=not pattern)


def _names_of_archive(archive: Built) -> tuple[str, ...]:
    return (archive.identity, archive.identity.partition("@")[0])


def _every_name() -> list[str]:
    # Imported here, seconds long: the tables do without.
    import timm

    import swin_handler.models  # noqa: F401 - registers the Shunted Transformer

    return [store.BUILT_IN, *timm.list_models()]


def _found(pattern: str, names: Iterable[str], complaint: str) -> list[str]:
    found = [name for name in names if _matches(pattern, (name,))]
    if not found:
        raise BuildRefused(f"{complaint} {pattern!r}")
    return found


def _matches(pattern: str, names: Iterable[str]) -> bool:
    """A word without wildcards may stand anywhere in a name."""
    whole = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return any(fnmatch.fnmatchcase(name, whole) for name in names)


def _print_names(names: Sequence[str], as_json: bool) -> None:
    for name in names:
        click.echo(json.dumps({"kind": "timm", "name": name}) if as_json else name)


def _print_json(checkpoints: Sequence[Checkpoint], archives: Sequence[Built]) -> None:
    for checkpoint in checkpoints:
        click.echo(json.dumps({"kind": "released", "name": checkpoint.name, **asdict(checkpoint)}, ensure_ascii=False))
    for archive in archives:
        click.echo(json.dumps(_archive_json(archive), ensure_ascii=False))


def _archive_json(archive: Built) -> dict[str, Any]:
    about = {"path": str(archive.path), "bytes": archive.size, "written": archive.written.astimezone().isoformat()}
    manifest = asdict(archive.manifest) if archive.manifest else None
    return {"kind": "built", "name": archive.identity, **about, "problem": archive.problem, "manifest": manifest}
