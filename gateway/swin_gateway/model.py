"""One archive -> `ServedModel`: a served model version, its queue, its workers' health, and its public description."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from swin_gateway import backend
from swin_gateway.admission import Admission
from swin_gateway.archive import Archive
from swin_gateway.errors import ModelNotFound, ModelVersionNotFound, TooLarge
from swin_gateway.metrics import ModelMetrics
from swin_gateway.options import Options
from swin_proto.v1 import classifier_pb2
from swin_proto.worker.v1.job_pb2 import Answer

log = structlog.get_logger("model")

STALE_SECONDS = 10.0
"""A worker that has not answered for so long is not counted on, though its process may exist."""

BATCH_BYTES = 32 * 2**20
"""Of embeddings and maps that one batch may answer. With every 64 KiB that arrive TorchServe copies what it has of a
batch's answer again: 18 MB were seen to take 0.6 s, 148 MB 50 s, and at 60 s it ends the worker."""


@dataclass
class WorkerHealth:
    """Which workers have answered a real forward pass, and what each said of itself; by pid, forgotten when it dies."""

    answered_at: dict[int, float] = field(default_factory=dict)
    """Monotonic seconds."""
    compiles: dict[int, int] = field(default_factory=dict)
    """The most that each has told of: what it compiled since it was ready."""
    notes: dict[int, str] = field(default_factory=dict)
    """Why a safe default serves in it; empty if what was tuned does."""
    load_seconds: float = math.nan
    """From the start to the first answer: how long a worker's replacement takes too."""
    started_at: float = field(default_factory=time.monotonic)

    def answered(self, pid: int) -> None:
        self.answered_at[pid] = time.monotonic()
        if not self.loaded:
            self.load_seconds = self.answered_at[pid] - self.started_at

    @property
    def loaded(self) -> bool:
        """From the first answer on; a worker that dies later is replaced, and its work waits."""
        return not math.isnan(self.load_seconds)

    @property
    def alive(self) -> bool:
        """Whether a worker that has answered exists; it may hang."""
        return any(map(alive, self.answered_at))

    def compiled(self, pid: int, compiles: int) -> int:
        """How much of a worker's own count is news. Answers may overtake each other, so a lower count says nothing."""
        known = self.compiles.get(pid, 0)
        self.compiles[pid] = max(known, compiles)
        return self.compiles[pid] - known

    def noted(self, pid: int, note: str) -> bool:
        """Whether no living worker has said this yet; an empty note says nothing."""
        news = bool(note) and note not in self.notes.values()
        self.notes[pid] = note
        return news

    def forget_dead(self) -> None:
        self.answered_at = {pid: at for pid, at in self.answered_at.items() if alive(pid)}
        self.compiles = {pid: count for pid, count in self.compiles.items() if pid in self.answered_at}
        self.notes = {pid: note for pid, note in self.notes.items() if pid in self.answered_at}

    @property
    def idle_seconds(self) -> float:
        """Since the last answer; infinite before the first."""
        return time.monotonic() - max(self.answered_at.values(), default=float("-inf"))

    @property
    def ready(self) -> bool:
        return self.idle_seconds < STALE_SECONDS


class ServedModel:
    def __init__(self, archive: Archive, *, queue_size: int, metrics: ModelMetrics) -> None:
        self.manifest = archive.manifest
        self.labels = archive.labels
        self.card = archive.card
        self.metrics = metrics
        self.workers = WorkerHealth()
        self.backend = ""
        self.dtype = ""
        self.note = ""
        """Why a safe default serves in the last worker that answered; empty if what was tuned does."""
        self.admission = Admission(
            batch_size=self.manifest.batch_size,
            workers=self.manifest.workers,
            queue_size=queue_size,
            metrics=metrics,
        )

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def image_bytes(self) -> int:
        """Of embedding and maps that may answer one image: a batch of such answers stays within BATCH_BYTES."""
        return BATCH_BYTES // self.manifest.batch_size

    def check_answer(self, options: Options, images: int, most: int) -> None:
        """Raises TooLarge when the embeddings and maps asked for would be; most: bytes of a call's"""
        each = options.answer_bytes(self.manifest)
        if each > self.image_bytes:
            raise TooLarge(f"one image's answer could have {each} bytes, more than {self.image_bytes}; lower top_k")
        if (size := images * each) > most:
            advice = "send fewer images" + (" or lower top_k" if options.class_activation_map else "")
            raise TooLarge(f"the answer could have {size} bytes, more than {most}; {advice}")

    def take(self, answer: Answer) -> None:
        """Notes what a worker's answer says about the worker."""
        self.workers.answered(answer.worker_pid)
        self.metrics.compiled(self.workers.compiled(answer.worker_pid, answer.compiles))
        self._take_note(answer)
        if (answer.backend, answer.dtype) != (self.backend, self.dtype):
            self.backend, self.dtype = answer.backend, answer.dtype
            self.metrics.describe(
                backend=answer.backend,
                dtype=answer.dtype,
                architecture=self.manifest.architecture,
                weights=self.manifest.weights,
            )

    def _take_note(self, answer: Answer) -> None:
        self.note = answer.engine_note
        if self.workers.noted(answer.worker_pid, self.note):
            log.warning("a safe default serves", model=self.manifest.identity, backend=answer.backend, why=self.note)
        self.metrics.fallback(any(self.workers.notes.values()))

    def describe(self, versions: list[str]) -> classifier_pb2.Model:
        _, height, width = self.manifest.input_size
        map_height, map_width = self.manifest.activation_map or (0, 0)
        return classifier_pb2.Model(
            name=self.name,
            version=self.version,
            versions=versions,
            ready=self.workers.ready,
            architecture=self.manifest.architecture,
            input_height=height,
            input_width=width,
            labels=self.labels,
            parameters=self.manifest.parameters,
            multiply_adds=self.manifest.multiply_adds,
            dtype=self.dtype,
            backend=self.backend,
            backend_reason=backend.reason(self.manifest, backend=self.backend, note=self.note),
            batch_buckets=self.manifest.batch_buckets,
            weights=self.manifest.weights,
            embedding_size=self.manifest.embedding_size,
            activation_map_height=map_height,
            activation_map_width=map_width,
            backend_timings=backend.timings(self.manifest.engine, note=self.note),
            preprocessing=self.card.preprocessing,
            accuracy=self.card.accuracy,
            licence=self.card.licence,
        )


class Models:
    """Every served model version, in the order of the command line; the first of a name is its default version."""

    def __init__(self, models: list[ServedModel]) -> None:
        self._models = models

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    def find(self, name: str, version: str) -> ServedModel:
        """The model asked for; an empty name or version means the default. Raises ModelNotFound."""
        wanted = name or self._models[0].name
        for model in self._models:
            if model.name == wanted and version in ("", model.version):
                return model
        served = ", ".join(f"{model.name}@{model.version}" for model in self._models)
        asked = f"{wanted}@{version}" if version else wanted
        asked = asked if len(asked) <= 100 else f"{asked[:100]}…"  # gRPC's status has room for 8 KB
        known = any(model.name == wanted for model in self._models)
        missing = ModelVersionNotFound if known else ModelNotFound
        raise missing(f"no model {asked!r} is served here; served: {served}")

    def describe(self, name: str, version: str) -> classifier_pb2.Model:
        """The public description; raises ModelNotFound."""
        model = self.find(name, version)
        return model.describe([other.version for other in self._models if other.name == model.name])

    @property
    def ready(self) -> bool:
        return all(model.workers.ready for model in self._models)


def alive(pid: int) -> bool:
    """Whether a process of this pid exists; one of another user counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
