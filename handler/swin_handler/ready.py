"""Unpacked archive and its settings -> a model that is ready: its pipeline, and what else an answer is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swin_handler import cpus, engine, model
from swin_handler.batch import Pipeline
from swin_handler.config import HandlerConfig, Manifest
from swin_handler.decode import Decoder, limit_pillow
from swin_handler.engine import Engine
from swin_handler.errors import BadArchive
from swin_handler.limits import Limits
from swin_handler.model import LoadedModel

RESPONSE_TIMEOUT = 120
"""TorchServe's default of responseTimeout, in seconds."""


@dataclass(frozen=True)
class ReadyModel:
    manifest: Manifest
    loaded: LoadedModel
    engine: Engine
    pipeline: Pipeline
    device: torch.device
    threads: int
    """Of one forward pass."""


def load(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    gpu: int | None,
    before_forward: Callable[[], None] = lambda: None,
) -> ReadyModel:
    """settings: its model-config.yaml. What it sets of torch and Pillow holds for the process. Raises BadArchive."""
    manifest = Manifest.read(folder)
    config = HandlerConfig.parse(settings.get("handler") or {})
    device = _device(settings, gpu)
    threads = cpus.share(config.threads, workers=int(settings.get("maxWorkers", 1)))
    torch.set_num_threads(threads)
    limit_pillow(config.max_pixels)
    loaded = model.load(folder, manifest)
    limits = Limits.of(
        config,
        batch_size=int(settings.get("batchSize", 1)),
        batch_seconds=float(settings.get("responseTimeout", RESPONSE_TIMEOUT)),
    )
    decoder = Decoder(loaded.data_config, max_pixels=config.max_pixels, scaled=config.scaled_decode, limits=limits)
    pool = ThreadPoolExecutor(config.decode_threads or threads, thread_name_prefix="decode")
    made = engine.load(loaded, folder / engine.FOLDER, manifest.engine, config=config, device=device, threads=threads)
    pipeline = Pipeline(decoder, made, pool, before_forward=before_forward)
    return ReadyModel(manifest, loaded, made, pipeline, device, threads)


def _device(settings: Mapping[str, Any], gpu: int | None) -> torch.device:
    if gpu is not None and gpu >= 0 and torch.cuda.is_available():
        return torch.device("cuda", gpu)
    if settings.get("deviceType") == "gpu":
        raise BadArchive("the archive was built for --device cuda, and no CUDA device is found here")
    return torch.device("cpu")
