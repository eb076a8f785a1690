"""An unpacked archive -> its tuning record and its folder engine/, by compiling and timing what can serve the model.

Runs in a process of its own, as `python -m swin_handler.build.tuner FOLDER`, with the threads and the environment of a
worker: what compilers and their thread pools leave behind, a crash included, touches neither builder nor measurement.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from swin_handler import cpus, engine, model
from swin_handler.build import table
from swin_handler.build.agreement import LEAST
from swin_handler.build.errors import BuildRefused
from swin_handler.build.judge import Judge
from swin_handler.config import HandlerConfig, Manifest
from swin_handler.engine import backends
from swin_handler.engine.candidates import Progress as Report
from swin_handler.engine.plan import Plan
from swin_handler.errors import BadArchive
from swin_handler.model import LoadedModel
from swin_handler.tuning import Record

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""The gateway's for its workers: spinning threads would take the CPUs from decoding."""
_REFUSED = 2
_MANIFEST = "swinserve.json"


@dataclass(frozen=True)
class Images:
    """What int8 is calibrated with and judged by; other dtypes need none."""

    folder: Path | None = None
    min_agreement: float = LEAST
    """Share of the images on which the best class must be float32's."""


NO_IMAGES = Images()


def settle(folder: Path, images: Images) -> Record:
    """Untimed, here and now: the backend asked for, or for `auto` the safe default. Raises BuildRefused."""
    return _write(folder, images, timed=False, report=lambda _text: None, console=table.console())


def run(folder: Path, images: Images) -> Record:
    """Timed, in another process, which shows its progress. Raises BuildRefused."""
    command = [
        *(sys.executable, "-m", "swin_handler.build.tuner"),
        *(str(folder), str(images.folder or ""), str(images.min_agreement)),
    ]
    try:
        ended = subprocess.run(command, env={**os.environ, **WORKER_ENVIRONMENT}, check=False)  # noqa: S603
    except KeyboardInterrupt:
        table.console().print("interrupted while tuning: nothing was written")
        raise
    if ended.returncode == _REFUSED:
        raise BuildRefused("no backend serves this model; the lines above say why")
    if ended.returncode:
        raise BuildRefused(f"tuning ended with code {ended.returncode}; --backend eager --no-tune builds without it")
    return Manifest.read(folder).engine


def _write(folder: Path, images: Images, *, timed: bool, report: Report, console: Console) -> Record:
    """Into the folder's manifest and its engine/."""
    manifest = Manifest.read(folder)
    settings = yaml.safe_load((folder / "model-config.yaml").read_text(encoding="utf-8"))
    config = HandlerConfig.parse(settings["handler"])
    plan = _plan(config, settings)
    torch.set_num_threads(plan.threads)
    own = folder / engine.FOLDER
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    candidates = _candidates(config.backend, plan.device, timed=timed)
    judge = None
    try:
        loaded = model.load(folder, manifest)
        judge = _judge(loaded, images, plan, config, console)
        record = engine.tune(
            loaded, plan, own, candidates=candidates, timed=timed, progress=report, judge=judge
        )  # fmt: skip
    except (engine.BackendFailed, BadArchive) as error:
        raise BuildRefused(str(error)) from error
    finally:
        if judge is not None:
            judge.show()  # also of what was refused: by how much it missed decides what to do about it
    text = json.dumps(replace(manifest, engine=record).as_json(), indent=2, ensure_ascii=False)
    (folder / _MANIFEST).write_text(f"{text}\n", encoding="utf-8")
    return record


def _plan(config: HandlerConfig, settings: Mapping[str, Any]) -> Plan:
    device = _device(settings.get("deviceType"))
    dtype = backends.dtype(device) if config.dtype == "auto" else config.dtype
    threads = cpus.share(config.threads, workers=settings["maxWorkers"])
    return Plan("", dtype, config.batch_buckets, device, threads)


def _judge(loaded: LoadedModel, images: Images, plan: Plan, config: HandlerConfig, console: Console) -> Judge | None:
    if plan.dtype != "int8":
        return None
    if images.folder is None:
        raise BuildRefused("--dtype int8 is judged on your images: name a folder of them with --calibration")
    return Judge(loaded, config, images.folder, least=images.min_agreement, console=console)


def _candidates(backend: str, device: torch.device, *, timed: bool) -> Sequence[str]:
    if backend != "auto":
        return (backend,)
    return tuple(backends.all_of(device)) if timed else backends.safe(device)


def _device(asked: str | None) -> torch.device:
    if asked == "gpu" and not torch.cuda.is_available():
        raise BuildRefused("--device cuda: no CUDA device is found here; the engine is compiled where it will serve")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def main(folder: Path, images: Images) -> int:
    console = table.console()
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting torch and timm")

        def report(text: str) -> None:
            if console.is_terminal:
                progress.update(task, description=text)
            else:
                console.print(f"  {text}", markup=False, soft_wrap=True)

        try:
            _write(folder, images, timed=True, report=report, console=console)
        except BuildRefused as error:
            console.print(error.message, markup=False, soft_wrap=True)
            return _REFUSED
    return 0


if __name__ == "__main__":
    try:
        archive, calibration, least = sys.argv[1:]
        sys.exit(main(Path(archive), Images(Path(calibration) if calibration else None, float(least))))
    except KeyboardInterrupt:
        sys.exit(130)
