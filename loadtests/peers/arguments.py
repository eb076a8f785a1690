"""The command line of every peer's server: `--port P --model DIR`; it serves on 127.0.0.1:P until SIGTERM.

DIR holds model.safetensors (timm's state dict), labels.txt (a line for each class) and archive/ (an unpacked .mar).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

HOST = "127.0.0.1"


class Arguments(NamedTuple):
    port: int
    model: Path


def parse(description: str | None) -> Arguments:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    values = parser.parse_args()
    return Arguments(values.port, values.model.resolve())
