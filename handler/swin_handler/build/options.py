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

calibration = click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="For int8: images like those that will be served, at least 64. Half of them calibrate, the other half is "
    "judged by. Images in folders named like labels tell the true class.",
)
min_agreement = click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="For int8: refuse a backend whose best class is float32's on a smaller share of the images.",
)
