"""Options that several subcommands share, each meaning the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

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


def check_int8_alone(dtype: str) -> None:
    """Raises UsageError for a --min-agreement that nothing would be held to: only int8 is judged on images."""
    asked = click.get_current_context().get_parameter_source("min_agreement")
    if dtype != "int8" and asked is not ParameterSource.DEFAULT:
        raise click.UsageError(f"--min-agreement is for int8, not for {dtype}")
