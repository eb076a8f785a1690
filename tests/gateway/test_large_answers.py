"""Maps of 1000 classes from TorchServe to the gateway and out to the caller, through every real channel and server.

A shell script stands in for java and an HTTP server of our own for what it would run; the real one is tests/e2e's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from starlette.responses import Response

from swin_gateway.service import Service
from swin_gateway.settings import ServeSettings
from swin_proto.v1.classifier_pb2 import ClassifyOptions, ClassifyRequest, ClassifyStreamRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from swin_proto.worker.v1.job_pb2 import ActivationMaps, Job, TopK

from .assembly import PNG, answer_to, result_to
from .fake_torchserve import FakeTorchServe, answered
from .samples import archive_of

CLASSES, SIDE = 1000, 24
MAP_BYTES = 4 * SIDE * SIDE
IMAGES = 8
MAPS = bytes(range(256)) * (CLASSES * MAP_BYTES // 256)
LARGE = archive_of(
    num_classes=CLASSES,
    labels=tuple(f"a class with a name of some length, number {index}" for index in range(CLASSES)),
    activation_map=[SIDE, SIDE],
)


async def maps(job: Job) -> Response:
    classes = min(job.top_k, CLASSES)
    changes: dict[str, Any] = {"top_k": TopK(indices=range(classes), scores=[1 / CLASSES] * classes)}
    if job.class_activation_map:
        data = MAPS[: classes * MAP_BYTES]
        changes["activation_maps"] = ActivationMaps(height=SIDE, width=SIDE, data=data, right=1, bottom=1)
    return answered(answer_to(job, results=[result_to(job, **changes)]))


def settings(folder: Path, **changes: Any) -> ServeSettings:
    java = folder / "java"
    java.write_text('#!/bin/sh\nif [ "$1" = -version ]; then echo \'version "21"\'; exit; fi\nexec sleep 60\n')
    java.chmod(0o755)
    ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port"), 0)
    return ServeSettings.load({"java": java, "default_timeout": 60.0} | ports | changes)


@contextlib.asynccontextmanager
async def serving(folder: Path, **changes: Any) -> AsyncIterator[Service]:
    service = Service(settings(folder, **changes), [LARGE], asyncio.Event())
    path = Path(service.torchserve.rest_address.removeprefix("unix:"))
    async with FakeTorchServe(maps).listening(path):
        try:
            await service.start()
            await service.wait_ready()
            yield service
        finally:
            await service.close()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path) as service:
        yield service


@contextlib.asynccontextmanager
async def stub_of(service: Service) -> AsyncIterator[Any]:
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc_port}", options=options) as channel:
        yield ClassifierStub(channel)


def asked(images: int, top_k: int = CLASSES) -> ClassifyRequest:
    options = ClassifyOptions(top_k=top_k, class_activation_map=True)
    return ClassifyRequest(images=[Image(content=PNG)] * images, options=options)


async def test_the_maps_of_all_classes_of_several_images_reach_the_caller_whole(service: Service) -> None:
    async with stub_of(service) as stub:
        response = await stub.Classify(asked(IMAGES))
    assert len(response.results) == IMAGES
    assert response.ByteSize() > IMAGES * CLASSES * MAP_BYTES
    for result in response.results:
        maps = [each.class_activation_map for each in result.predictions.predictions]
        assert b"".join(each.data for each in maps) == MAPS
        assert all(list(each.shape) == [SIDE, SIDE] for each in maps)


async def test_a_stream_brings_them_too(service: Service) -> None:
    options = asked(1).options
    requests = [
        ClassifyStreamRequest(id=str(number), image=Image(content=PNG), options=options) for number in range(IMAGES)
    ]
    async with stub_of(service) as stub:
        answers = [answer async for answer in stub.ClassifyStream(iter(requests))]
    assert sorted(answer.id for answer in answers) == sorted(request.id for request in requests)
    for answer in answers:
        assert len(answer.result.predictions.predictions) == CLASSES


async def test_rest_brings_them_in_base64_and_says_so_when_asked_for_lists(service: Service) -> None:
    url = f"http://127.0.0.1:{service.http_port}/v1/classify?top_k={CLASSES}&class_activation_map="
    async with httpx.AsyncClient(timeout=60) as client:
        listed = await client.post(url + "true", content=PNG)
        encoded = await client.post(url + "base64", files=[("images", PNG)] * 4)
    assert (listed.status_code, listed.json()["error"]["reason"]) == (413, "TOO_LARGE")
    assert "base64" in listed.json()["error"]["message"]
    assert encoded.status_code == 200
    for result in encoded.json()["results"]:
        data = (base64.b64decode(each["class_activation_map"]["data"]) for each in result["predictions"])
        assert b"".join(data) == MAPS


async def test_an_answer_over_the_limit_is_refused_with_a_reason_of_ours(service: Service) -> None:
    async with stub_of(service) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="send fewer images or lower top_k") as refusal:
            await stub.Classify(asked(64))
        assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert len((await stub.Classify(asked(64, top_k=5))).results) == 64


async def test_an_answer_may_be_larger_than_the_requests_taken(tmp_path: Path) -> None:
    async with serving(tmp_path, max_request_bytes=10_000) as service:
        async with stub_of(service) as stub:
            response = await stub.Classify(asked(2))
        limits = dict(line.split("=", 1) for line in service.torchserve._properties().splitlines())
    assert len(response.results) == 2
    assert int(limits["max_response_size"]) > CLASSES * MAP_BYTES
