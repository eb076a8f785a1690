"""Our service's sides: gRPC, REST, and the same without a model and without decoding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import httpx
import psutil
from running import Service, serving

from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub

from .load import Call, Stages
from .side import OURS, Side

STAGES = ("queue", "batch_wait", "decode", "inference")
LARGEST_MESSAGE = 64 * 2**20


@asynccontextmanager
async def served(
    archive: Path, *, names: Sequence[str] = ("gRPC", "REST"), label: str = ""
) -> AsyncIterator[list[Side]]:
    """The archive's service, on each protocol of `names`; `label` tells arrangements apart."""
    with serving(archive) as service:
        processes = processes_of(service)
        async with (
            _grpc_channel(service) as channel,
            httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as http,
        ):
            calls = {"gRPC": _grpc_call(channel), "REST": _rest_call(http, service.http)}

            async def request_seconds() -> tuple[float, float]:
                text = (await http.get(service.metrics)).text
                return _total(text, "sum"), _total(text, "count")

            yield [Side(label or name, OURS, calls[name], processes, request_seconds=request_seconds) for name in names]


def _total(metrics: str, what: str) -> float:
    lines = [line for line in metrics.splitlines() if line.startswith(f"swinserve_request_seconds_{what}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'method="Classify"' in line)


def processes_of(service: Service) -> dict[str, psutil.Process]:
    """By their parts; several workers have a number each."""
    gateway = psutil.Process(service.pid)
    (jvm,) = gateway.children()
    workers = {f"worker {number}": process for number, process in enumerate(jvm.children(), 1)}
    return {"gateway": gateway, "jvm": jvm, **workers}


def _grpc_channel(service: Service) -> grpc.aio.Channel:
    options = [("grpc.max_send_message_length", LARGEST_MESSAGE)]
    return grpc.aio.insecure_channel(service.grpc.removeprefix("grpc://"), options=options)


def _grpc_call(channel: grpc.aio.Channel) -> Call:
    stub = ClassifierStub(channel)

    async def call(image: bytes) -> Stages:
        answer = await stub.Classify(ClassifyRequest(images=[Image(content=image)]), timeout=60)
        return {name: getattr(answer.timing, name) for name in STAGES}

    return call


def _rest_call(http: httpx.AsyncClient, url: str) -> Call:
    async def call(image: bytes) -> Stages:
        answer = await http.post(f"{url}/v1/classify", content=image)
        answer.raise_for_status()
        timing = answer.json()["timing"]
        return {name: timing[name] for name in STAGES}

    return call
