"""Where model archives live, and where the built-in model's weights come from."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

BUILT_IN = "swin_digits"


def resolve(option: Path | None) -> Path:
    """--model-store > SWINSERVE_MODEL_STORE > ./model_store if it is there > the user's data folder."""
    if option is not None:
        return option
    if named := os.environ.get("SWINSERVE_MODEL_STORE"):
        return Path(named)
    here = Path("model_store")
    return here if here.is_dir() else Path(platformdirs.user_data_dir("swinserve")) / "model_store"


def built_in_folder() -> Path:
    """The folder with config.json and model.safetensors: beside this file in a wheel, else in the checkout."""
    packaged = Path(__file__).parent / BUILT_IN
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "model_store" / BUILT_IN
