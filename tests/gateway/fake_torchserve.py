"""A small real server on a unix socket that speaks as much of TorchServe's REST as the gateway asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from swin_proto.worker.v1.job_pb2 import Answer, Job

from .assembly import answer_to, until


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    job: Job


def images_of(job: Job) -> list[bytes]:
    """As a worker reads them; this process is the gateway too."""
    shared = [Path(f"/proc/self/fd/{each.descriptor}").read_bytes()[: each.size] for each in job.shared_images]
    return [*job.images, *shared]


async def classes(job: Job) -> Response:
    return answered(answer_to(job, backend="the worker"))


def answered(answer: Answer) -> Response:
    return Response(answer.SerializeToString())


@dataclass
class FakeTorchServe:
    """`reply` answers each job, with `images` in place."""

    reply: Callable[[Job], Awaitable[Response]] = classes
    received: list[Received] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        sent = Job.FromString(await request.body())
        job = Job(images=images_of(sent))
        self.received.append(Received(request.url.path, dict(request.headers), sent))
        sent = Job.FromString(sent.SerializeToString())
        del sent.images[:], sent.shared_images[:]
        job.MergeFrom(sent)
        response = await self.reply(job)
        await response(scope, receive, send)

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[uvicorn.Server]:
        config = uvicorn.Config(
            self, uds=str(path), lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=0
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started)
            yield server
        finally:
            server.should_exit = True
            await task
