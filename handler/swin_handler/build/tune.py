"""`swinserve tune NAME`: decide anew which backends serve an archive, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from swin_handler.build import options, store
from swin_handler.config import Manifest


@click.command()
@click.argument("name")
@options.model_store
@options.calibration
@options.min_agreement
def tune(name: str, model_store: Path | None, calibration: Path | None, min_agreement: float) -> None:
    """Time every backend that can serve NAME on this machine, and rewrite its archive with the fastest.

    NAME is what is built: NAME, NAME@VERSION or the path of a .mar. Every backend is compiled for every batch bucket,
    held against timm in float64, and timed in turns with the others; that takes minutes. An archive that was built with
    --backend has that one alone: it is compiled and timed anew. Run it on the machine kind that will serve, while
    nothing else runs there.

    Exit codes: 0 tuned, 1 the disk failed, 2 bad input, or no backend answers rightly.
    """  # fmt: skip
    # Imported here, seconds long, so that --help and usage errors answer at once.
    from swin_handler.build import archive, built, table, timings
    from swin_handler.build.errors import BuildRefused
    from swin_handler.build.tuner import Images

    folder = store.resolve(model_store)
    found = built.find(name, folder)
    if found is None:
        raise BuildRefused(f"{folder} has no archive of {name}: swinserve build {name}")
    if found.manifest is None:
        raise BuildRefused(f"{found.path}: {found.problem}")
    _check(found.manifest, calibration)
    manifest = archive.retune(found.path, Images(calibration, min_agreement))
    console = table.console()
    timings.show(manifest.engine, console)
    console.print(f"{found.path} serves with {', '.join(dict.fromkeys(manifest.engine.choice.values()))}")


def _check(manifest: Manifest, calibration: Path | None) -> None:
    """Raises UsageError for images that nothing would look at, and for int8 without any."""
    name, dtype = manifest.name, manifest.dtype
    if dtype == "int8" and calibration is None:
        raise click.UsageError(f"{name} is in int8, which is judged on images: name them with --calibration DIR")
    if dtype != "int8" and calibration is not None:
        raise click.UsageError(f"--calibration is for int8, and {name} was built with --dtype {dtype}")
    options.check_int8_alone(dtype)
