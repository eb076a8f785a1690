"""Seconds from the start of a worker's process to ready, and what of them the engine takes -> CSV and a table.

A worker's process here is what TorchServe starts: the archive's own handler, in the environment that the gateway gives.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from running import RESULTS, write

WORKER = """
import json, sys, time
folder, began = sys.argv[1], float(sys.argv[2])
sys.path.insert(0, folder)
import swinserve_entry
from pathlib import Path
import yaml
from swin_handler import engine, service
imported = time.time()
load, seconds = engine.load, {}
def timed(*arguments, **options):
    start = time.time()
    made = load(*arguments, **options)
    seconds.update(engine=time.time() - start, backend=made.backend, dtype=made.dtype, note=made.note)
    return made
engine.load = timed
settings = yaml.safe_load(Path(folder, "model-config.yaml").read_text())
service.Service.load(Path(folder), settings, gpu=None)
print(json.dumps({"imports": imported - began, **seconds, "ready": time.time() - began}))
"""


def unpacked(model: str, backend: str, store: Path) -> Path:
    """The contents of a fresh archive with random weights."""
    command = ["build", model, "--random-weights", "--backend", backend, "--no-tune", "--model-store", store]
    subprocess.run([Path(sys.executable).with_name("swinserve"), *command], check=True)
    [archive] = store.glob("*.mar")
    with zipfile.ZipFile(archive) as mar:
        mar.extractall(store / "unpacked")
    return store / "unpacked"


def start(folder: Path) -> dict[str, object]:
    # time.time() is one clock for both processes.
    command = [sys.executable, "-c", WORKER, folder, str(time.time())]
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    return found


@click.command()
@click.option("--model", default="swin_tiny_patch4_window7_224", show_default=True)
@click.option("--backend", "backends", multiple=True, default=("native", "inductor", "eager"), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(model: str, backends: tuple[str, ...], rounds: int, output: Path) -> None:
    """Measure how soon a worker is ready, with what was compiled ahead."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {backend: unpacked(model, backend, Path(scratch, backend)) for backend in backends}
        rows = [
            {"model": model, "asked": backend, "round": number, **start(folder)}
            for number in range(rounds)
            for backend, folder in folders.items()
        ]
    table = Table("backend", "what", "best s", "median s")
    for backend in backends:
        for what in ("imports", "engine", "ready"):
            seconds = [float(str(row[what])) for row in rows if row["asked"] == backend]
            table.add_row(backend, what, f"{min(seconds):.2f}", f"{statistics.median(seconds):.2f}")
    Console().print(table)
    print(write(rows, "start", output))


if __name__ == "__main__":
    main()
