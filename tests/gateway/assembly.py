"""The real gateway around a fake WorkerClient: classifier, models, admission, metrics and readiness as `serve` wires
them, and both adapters on top."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import grpc.aio
import httpx
from fastapi import FastAPI

from swin_gateway.access import OPEN, Access
from swin_gateway.archive import Archive
from swin_gateway.body import BodyReader
from swin_gateway.call import Call
from swin_gateway.calls import Calls
from swin_gateway.classifier import Classifier
from swin_gateway.grpc_server import grpc_server
from swin_gateway.images import HeaderCheck
from swin_gateway.metrics import Metrics
from swin_gateway.model import Models, ServedModel
from swin_gateway.options import Options
from swin_gateway.pending_bytes import PendingBytes
from swin_gateway.readiness import Readiness
from swin_gateway.rest_api import RestApi
from swin_gateway.rest_docs import lead_to_docs
from swin_gateway.stream_limits import StreamLimits
from swin_gateway.tracing import Tracing
from swin_proto import CONTRACT_VERSION
from swin_proto.worker.v1.job_pb2 import ActivationMaps, Answer, Error, Job, Result, TopK

from .samples import archive_of, encoded

PNG = encoded("PNG")
MAX_REQUEST_BYTES = 100_000
MAX_MESSAGE_BYTES = 4 * 2**20
MAX_IMAGES = 8


EMBEDDING = (0.5, -1.5, 2.25, 1e-30)
MAPS = (((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), ((-1.0, 0.5, 0.0), (0.0, 0.25, 0.0)))
"""Of the classes "two" and "zero": 2 rows of 3."""
REGION = {"left": -0.25, "top": 0.0, "right": 1.25, "bottom": 1.0}


def floats(*numbers: float) -> bytes:
    """float32, little-endian."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def result_to(job: Job, **changes: Any) -> Result:
    """What a worker says of an image: class 2, then 0, and what else the job asks for."""
    classes = min(job.top_k, 2)
    facts: dict[str, Any] = {"top_k": TopK(indices=[2, 0][:classes], scores=[0.75, 0.25][:classes])}
    if job.embedding:
        facts["embedding"] = floats(*EMBEDDING)
    if job.class_activation_map:
        numbers = [number for rows in MAPS[:classes] for row in rows for number in row]
        facts["activation_maps"] = ActivationMaps(height=2, width=3, data=floats(*numbers), **REGION)
    return Result(**(facts | changes))


def answer_to(job: Job, **changes: Any) -> Answer:
    """What a worker with a live model answers: label "two", then "zero"."""
    facts: dict[str, Any] = {
        "contract_version": CONTRACT_VERSION,
        "results": [result_to(job) for _ in job.images],
        "entered_at": time.monotonic(),
        "decode_seconds": 0.001,
        "inference_seconds": 0.002,
        "batch_size": 1,
        "padded_size": 2,
        "worker_pid": os.getpid(),
        "backend": "eager",
        "dtype": "float32",
    }
    return Answer(**(facts | changes))


def error_to(job: Job, kind: Any, message: str = "the worker's words") -> Answer:
    return answer_to(job, results=[Result(error=Error(kind=kind, message=message))], batch_size=0)


@dataclass
class FakeWorkers:
    """Stands in for WorkerClient: remembers every job, and answers with `reply` while `gate` is open."""

    reply: Callable[[Job], Answer] = answer_to
    jobs: list[Job] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    finished: int = 0
    most_at_once: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def run(self, name: str, version: str, job: Job, image: bytes) -> Answer:
        sent = Job(images=[image])
        sent.MergeFrom(job)
        self.jobs.append(sent)
        self.asked.append((name, version))
        self.most_at_once = max(self.most_at_once, len(self.jobs) - self.finished)
        try:
            await self.gate.wait()
            return self.reply(sent)
        finally:
            self.finished += 1


@dataclass
class Gateway:
    metrics: Metrics
    models: list[ServedModel]
    workers: FakeWorkers
    classifier: Classifier
    readiness: Readiness
    calls: Calls
    access: Access = OPEN

    @property
    def model(self) -> ServedModel:
        return self.models[0]

    def value(self, name: str, **labels: str) -> float:
        """The series' value, 0 where it has none."""
        return self.metrics.registry.get_sample_value(f"swinserve_{name}", labels) or 0.0

    def images(self, outcome: str) -> float:
        return self.value("images_total", model="digits", version="1.0", outcome=outcome)

    @asynccontextmanager
    async def rest(self, app: Any = None) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app or self.rest_app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client

    def rest_app(
        self, root: Callable[[FastAPI], None] = lead_to_docs, *, max_request_bytes: int = MAX_REQUEST_BYTES
    ) -> Any:
        body = BodyReader(max_bytes=max_request_bytes, max_images=MAX_IMAGES)
        return RestApi(self.classifier, self.readiness, self.calls, body, self.access, root=root).app

    @asynccontextmanager
    async def grpc(self) -> AsyncIterator[grpc.aio.Channel]:
        server = grpc_server(
            self.classifier,
            self.readiness,
            self.calls,
            self.access,
            options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)],
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(0)


def gateway(
    archives: Sequence[Archive] = (),
    *,
    loaded: bool = True,
    queue_size: int = 16,
    default_timeout: float = 5.0,
    max_response_bytes: int = 100_000,
    max_image_bytes: int = 50_000,
    max_pending_bytes: int = 10_000_000,
    silent_seconds: float = 30.0,
    tracing: Tracing | None = None,
    access: Access = OPEN,
) -> Gateway:
    """A gateway for `archives` (by default one model "digits", batch size 2, one worker)."""
    metrics = Metrics()
    models = [
        ServedModel(
            archive,
            queue_size=queue_size,
            metrics=metrics.for_model(archive.manifest.name, archive.manifest.version),
        )
        for archive in archives or [archive_of()]
    ]
    workers = FakeWorkers()
    classifier = Classifier(
        Models(models),
        workers,  # type: ignore[arg-type]
        HeaderCheck(max_bytes=max_image_bytes, max_pixels=1_000_000, formats=("JPEG", "PNG", "WEBP")),
        PendingBytes(max_pending_bytes),
        StreamLimits(
            beside=PendingBytes(max_pending_bytes), message_bytes=MAX_MESSAGE_BYTES, silent_seconds=silent_seconds
        ),
        max_images=MAX_IMAGES,
        max_image_bytes=max_image_bytes,
        max_response_bytes=max_response_bytes,
        default_timeout=default_timeout,
        max_timeout=20.0,
    )
    if loaded:
        for model in models:
            model.workers.answered(os.getpid())
    calls = Calls(metrics, classifier.closing, tracing=tracing)
    return Gateway(metrics, models, workers, classifier, Readiness(classifier, metrics), calls, access)


OPTIONS = {each.name for each in fields(Options)}


def call(*images: bytes, **changes: Any) -> Call:
    """A call of `images`, by default one good image; `changes` of the call or of its options."""
    facts: dict[str, Any] = {
        "model": "",
        "version": "",
        "images": images or (PNG,),
        "options": Options(**{name: changes.pop(name) for name in OPTIONS & set(changes)}),
        "timeout": None,
        "request_id": "r-1",
    }
    return Call(**(facts | changes))


async def until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Waits for what other tasks or processes are about to do."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - the condition is any expression, so there is nothing to wait on
            await asyncio.sleep(0.002)
