"""The real WorkerClient in front of a small real server that speaks TorchServe's REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from starlette.responses import Response
from structlog.testing import capture_logs

from swin_gateway.errors import InternalError, WorkerLost
from swin_gateway.image_memory import SHARED_FROM, ImageMemory
from swin_gateway.worker import CONTENT_TYPE, WorkerClient
from swin_handler import job as handler_job
from swin_proto.worker.v1.job_pb2 import Answer, Error, Job

from .assembly import PNG, answer_to, error_to, until
from .fake_torchserve import FakeTorchServe, answered, classes

JOB = Job(request_id="r-1", top_k=3)
LARGE = bytes(range(256)) * (SHARED_FROM // 256)


@pytest.fixture
def memory() -> Iterator[ImageMemory]:
    memory = ImageMemory()
    yield memory
    memory.close()


@pytest.fixture
async def torchserve(tmp_path: Path) -> AsyncIterator[FakeTorchServe]:
    fake = FakeTorchServe()
    async with fake.listening(tmp_path / "sock"):
        yield fake


@pytest.fixture
async def workers(torchserve: FakeTorchServe, memory: ImageMemory, tmp_path: Path) -> AsyncIterator[WorkerClient]:
    client = WorkerClient(f"unix:{tmp_path}/sock", memory, key=lambda: "secret")
    yield client
    await client.close()


async def test_a_job_travels_whole_and_so_does_its_answer(torchserve: FakeTorchServe, workers: WorkerClient) -> None:
    answer = await workers.run("digits", "1.0", JOB, PNG)
    assert isinstance(answer, Answer)
    assert answer.backend == "the worker"
    (received,) = torchserve.received
    assert received.path == "/predictions/digits/1.0"
    assert received.headers["authorization"] == "Bearer secret"
    assert received.headers["content-type"] == CONTENT_TYPE == handler_job.CONTENT_TYPE
    assert received.job == Job(request_id="r-1", top_k=3, images=[PNG])
    assert Job(request_id="r-1", top_k=3) == JOB


async def test_a_large_image_is_read_where_it_is_by_whoever_answers(
    torchserve: FakeTorchServe, workers: WorkerClient
) -> None:
    seen: list[bytes] = []

    async def look(job: Job) -> Response:
        seen.extend(job.images)
        return answered(answer_to(job))

    torchserve.reply = look
    await asyncio.gather(*(workers.run("digits", "1.0", JOB, LARGE + bytes([number])) for number in range(10)))
    assert sorted(seen) == [LARGE + bytes([number]) for number in range(10)]
    assert all(not received.job.images for received in torchserve.received)


async def test_where_workers_cannot_read_it_the_image_is_sent_and_so_are_all_that_follow(
    torchserve: FakeTorchServe, workers: WorkerClient
) -> None:
    async def cannot(job: Job) -> Response:
        return answered(
            error_to(job, Error.UNREADABLE) if torchserve.received[-1].job.shared_images else answer_to(job)
        )

    torchserve.reply = cannot
    with capture_logs() as logs:
        for _ in range(3):
            answer = await workers.run("digits", "1.0", JOB, LARGE)
            assert answer.results[0].WhichOneof("outcome") == "top_k"
    assert [list(received.job.images) for received in torchserve.received] == [[], [LARGE], [LARGE], [LARGE]]
    assert [line["log_level"] for line in logs] == ["warning"]


@pytest.mark.parametrize("status", [400, 404, 500, 503, 507])
async def test_whatever_torchserve_refuses_is_a_lost_worker_and_logged(
    torchserve: FakeTorchServe, workers: WorkerClient, status: int
) -> None:
    async def refuse(job: Job) -> Response:
        return Response("Worker died.", status)

    torchserve.reply = refuse
    with capture_logs() as logs, pytest.raises(WorkerLost) as lost:
        await workers.run("digits", "1.0", JOB, PNG)
    assert "Worker died" not in lost.value.message
    assert (logs[0]["status"], logs[0]["details"], logs[0]["request_id"]) == (status, "Worker died.", "r-1")
    torchserve.reply = classes
    assert await workers.run("digits", "1.0", JOB, PNG)


async def test_an_answer_that_is_not_our_handlers_is_internal(
    torchserve: FakeTorchServe, workers: WorkerClient
) -> None:
    async def text(job: Job) -> Response:
        return Response('{"two": 0.9}')

    torchserve.reply = text
    with capture_logs() as logs, pytest.raises(InternalError):
        await workers.run("digits", "1.0", JOB, PNG)
    assert logs[0]["event"] == "unreadable answer"


async def test_what_is_no_http_loses_the_job(memory: ImageMemory, tmp_path: Path) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(nonsense, tmp_path / "sock")
    client = WorkerClient(f"unix:{tmp_path}/sock", memory)
    with capture_logs() as logs, pytest.raises(WorkerLost):
        await client.run("digits", "1.0", JOB, PNG)
    assert "no HTTP" in logs[0]["details"]
    await client.close()
    server.close()


async def test_a_server_that_ends_under_a_job_loses_it(memory: ImageMemory, tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(hang_up, tmp_path / "sock")
    client = WorkerClient(f"unix:{tmp_path}/sock", memory)
    for _ in range(3):
        with capture_logs(), pytest.raises(WorkerLost):
            await client.run("digits", "1.0", JOB, PNG)
    await client.close()
    server.close()


async def test_closing_loses_what_is_under_way(torchserve: FakeTorchServe, workers: WorkerClient) -> None:
    async def hang(job: Job) -> Response:
        await asyncio.sleep(60)
        raise AssertionError("ended before")

    torchserve.reply = hang
    task = asyncio.create_task(workers.run("digits", "1.0", JOB, PNG))
    await until(lambda: torchserve.received)
    await workers.close()
    with capture_logs(), pytest.raises(WorkerLost):
        await task


async def test_a_job_waits_for_a_torchserve_that_is_still_starting(memory: ImageMemory, tmp_path: Path) -> None:
    client = WorkerClient(f"unix:{tmp_path}/sock", memory)
    task = asyncio.create_task(client.run("digits", "1.0", JOB, PNG))
    await asyncio.sleep(0.1)
    assert not task.done()
    async with FakeTorchServe().listening(tmp_path / "sock"):
        assert (await asyncio.wait_for(task, 5)).backend == "the worker"
        await client.close()


async def test_it_waits_no_longer_than_the_service_runs(memory: ImageMemory, tmp_path: Path) -> None:
    client = WorkerClient(f"unix:{tmp_path}/sock", memory)
    task = asyncio.create_task(client.run("digits", "1.0", JOB, PNG))
    await asyncio.sleep(0.1)
    await client.close()
    with capture_logs(), pytest.raises(WorkerLost):
        await asyncio.wait_for(task, 5)


async def test_one_connection_serves_one_job_after_another(torchserve: FakeTorchServe, workers: WorkerClient) -> None:
    for _ in range(5):
        await workers.run("digits", "1.0", JOB, PNG)
    assert len(workers._idle) == 1
    await asyncio.gather(*(workers.run("digits", "1.0", JOB, PNG) for _ in range(4)))
    assert len(workers._idle) == 4


async def test_over_tcp_where_there_are_no_unix_sockets(memory: ImageMemory) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = answer_to(Job.FromString(await reader.readexactly(length))).SerializeToString()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = WorkerClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", memory)
    assert (await client.run("digits", "1.0", JOB, PNG)).results
    await client.close()
    server.close()
