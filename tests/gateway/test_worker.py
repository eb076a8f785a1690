"""The real WorkerClient in front of a small real server that speaks TorchServe's Predictions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from swin_gateway.errors import InternalError, WorkerLost
from swin_gateway.torchserve import free_ports
from swin_gateway.worker import WorkerClient
from swin_proto.torchserve.inference_pb2 import PredictionResponse, PredictionsRequest
from swin_proto.torchserve.inference_pb2_grpc import (
    InferenceAPIsServiceServicer,
    add_InferenceAPIsServiceServicer_to_server,
)
from swin_proto.worker.v1.job_pb2 import Answer, Job

from .assembly import PNG, answer_to, until

JOB = Job(request_id="r-1", images=[PNG], top_k=3)
MAX_BYTES = 100_000


class TorchServe(InferenceAPIsServiceServicer):
    def __init__(self) -> None:
        self.requests: list[PredictionsRequest] = []
        self.predict: Callable[[Any], Awaitable[bytes]] = self.answer
        self.server = grpc.aio.server()
        add_InferenceAPIsServiceServicer_to_server(self, self.server)

    async def Predictions(self, request: PredictionsRequest, context: Any) -> PredictionResponse:  # noqa: N802
        self.requests.append(request)
        return PredictionResponse(prediction=await self.predict(context))

    async def answer(self, context: Any) -> bytes:
        return answer_to(Job.FromString(self.requests[-1].input["job"]), backend="the worker").SerializeToString()


@pytest.fixture
async def torchserve() -> AsyncIterator[TorchServe]:
    fake = TorchServe()
    yield fake
    await fake.server.stop(0)


@pytest.fixture
async def workers(torchserve: TorchServe) -> AsyncIterator[WorkerClient]:
    port = torchserve.server.add_insecure_port("127.0.0.1:0")
    await torchserve.server.start()
    client = WorkerClient(f"127.0.0.1:{port}", max_message_bytes=MAX_BYTES)
    yield client
    await client.close()


async def test_a_job_travels_whole_and_so_does_its_answer(torchserve: TorchServe, workers: WorkerClient) -> None:
    answer = await workers.run("digits", "1.0", JOB)
    assert isinstance(answer, Answer)
    assert answer.backend == "the worker"
    (request,) = torchserve.requests
    assert (request.model_name, request.model_version) == ("digits", "1.0")
    assert Job.FromString(request.input["job"]) == JOB


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE])
async def test_whatever_torchserve_refuses_is_a_lost_worker_and_logged(
    torchserve: TorchServe, workers: WorkerClient, code: grpc.StatusCode
) -> None:
    async def refuse(context: Any) -> bytes:
        await context.abort(code, "Worker died.")
        raise AssertionError("abort raises")

    torchserve.predict = refuse
    with capture_logs() as logs, pytest.raises(WorkerLost) as lost:
        await workers.run("digits", "1.0", JOB)
    assert "Worker died" not in lost.value.message
    assert (logs[0]["code"], logs[0]["details"], logs[0]["request_id"]) == (code.name, "Worker died.", "r-1")


async def test_an_answer_that_is_not_our_handlers_is_internal(torchserve: TorchServe, workers: WorkerClient) -> None:
    async def text(context: Any) -> bytes:
        return b'{"two": 0.9}'

    torchserve.predict = text
    with capture_logs() as logs, pytest.raises(InternalError):
        await workers.run("digits", "1.0", JOB)
    assert logs[0]["event"] == "unreadable answer"


async def test_a_server_that_ends_under_a_job_loses_it(torchserve: TorchServe, workers: WorkerClient) -> None:
    async def hang(context: Any) -> bytes:
        await asyncio.sleep(60)
        raise AssertionError("ended before")

    torchserve.predict = hang
    task = asyncio.create_task(workers.run("digits", "1.0", JOB))
    await until(lambda: torchserve.requests)
    await torchserve.server.stop(0)
    with capture_logs(), pytest.raises(WorkerLost):
        await task


async def test_a_job_waits_for_a_torchserve_that_is_still_starting(torchserve: TorchServe) -> None:
    (port,) = free_ports(1)
    client = WorkerClient(f"127.0.0.1:{port}", max_message_bytes=MAX_BYTES)
    task = asyncio.create_task(client.run("digits", "1.0", JOB))
    await asyncio.sleep(0.1)
    assert not task.done()
    torchserve.server.add_insecure_port(f"127.0.0.1:{port}")
    await torchserve.server.start()
    assert (await asyncio.wait_for(task, 5)).backend == "the worker"
    await client.close()


async def test_a_message_over_the_limit_is_not_sent(torchserve: TorchServe, workers: WorkerClient) -> None:
    with capture_logs(), pytest.raises(WorkerLost):
        await workers.run("digits", "1.0", Job(images=[b"x" * (MAX_BYTES + 1)]))
    assert not torchserve.requests
