"""Options that several subcommands share, each meaning the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

model_store = click.option(
    "--model-store",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where archives are. Default: SWINSERVE_MODEL_STORE, else ./model_store if there is one, "
    "else the user's data folder.",
)
