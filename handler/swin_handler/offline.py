"""A model archive in this process, for batch jobs: encoded images -> the answers that a worker would give.

from swin_handler.offline import OfflineModel

model = OfflineModel("model_store/swin_digits-1.0.mar")
for result in model.classify([image], top_k=1):
    ...
"""

from __future__ import annotations

import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from swin_handler import ready
from swin_handler.batch import Facts
from swin_handler.errors import BadArchive
from swin_handler.request import Request
from swin_handler.result import Result

_BROKEN = (OSError, zipfile.BadZipFile, EOFError, KeyError, ValueError, yaml.YAMLError)
"""What a file that is no archive of ours makes zipfile and yaml raise."""


class OfflineModel:
    """The same decoder, limits, engine and batch buckets as a worker's, without TorchServe and the gateway.

    It sets torch's threads and Pillow's limits for its process, so give each process one model.
    """

    def __init__(self, archive: Path | str, *, threads: int = 0, gpu: int | None = None) -> None:
        """archive: the .mar file; threads: of decoding and of one forward pass, 0: as the archive says,
        else one for each CPU; gpu: the CUDA device's index, None: the CPU. Raises BadArchive.
        """
        # What an engine needs of its files it has read or mapped once it is loaded.
        with tempfile.TemporaryDirectory(prefix="swinserve-offline-") as scratch:
            folder = Path(scratch)
            try:
                with zipfile.ZipFile(archive) as mar:
                    mar.extractall(folder)
                settings = yaml.safe_load((folder / "model-config.yaml").read_text())
            except _BROKEN as error:
                raise BadArchive(f"{archive} is no complete model archive ({error}); build it again") from error
            if threads:
                settings["handler"] = {**(settings.get("handler") or {}), "threads": threads}
            self._model = ready.load(folder, settings, gpu=gpu)
        self.manifest = self._model.manifest
        self.labels = self._model.loaded.labels
        """Of each index; empty for a model without a head."""
        engine = self._model.engine
        self.backend, self.dtype, self.batch_size = engine.backend, engine.dtype, engine.buckets[-1]
        """batch_size: the largest batch bucket; larger batches are split."""
        self.note = engine.note
        """Why a safe default serves instead of what was tuned; empty: it does not."""

    def classify(
        self,
        images: Sequence[bytes],
        *,
        top_k: int = 5,
        min_score: float = 0.0,
        embedding: bool = False,
    ) -> list[Result]:
        """A result for each encoded image, in order: Predictions, or the ImageError that this image alone has."""
        asked = Request(tuple(images), top_k, min_score, embedding=embedding)
        (results,) = self._model.pipeline.classify([asked], Facts(entered_at=time.monotonic()))
        return results
