"""FastAPI with our engine: a raw JPEG -> {label: score}, batched across requests by a queue of our own.

One batch is in the engine at a time, in a thread of its own, and the event loop keeps reading requests meanwhile.
uvloop and httptools, no access log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from loadtests.peers.arguments import HOST, parse
from loadtests.peers.engine import Engine

DELAY = 0.002  # seconds that the first image of a batch waits for others
Job = tuple[bytes, asyncio.Future[dict[str, float]]]


class Batcher:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1)
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()

    async def classify(self, image: bytes) -> dict[str, float]:
        answer: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((image, answer))
        return await answer

    async def run(self) -> None:
        while True:
            jobs = await self._collect()
            images = [image for image, _ in jobs]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.classify, images)
            except ValueError as error:
                for _, answer in jobs:
                    answer.set_exception(error)
            else:
                for (_, answer), found in zip(jobs, answers, strict=True):
                    answer.set_result(found)

    async def _collect(self) -> list[Job]:
        jobs = [await self._jobs.get()]
        try:
            async with asyncio.timeout(DELAY):
                while len(jobs) < self._engine.largest_batch:
                    jobs.append(await self._jobs.get())
        except TimeoutError:
            pass  # the batch goes with what it has
        return jobs


def application(folder: Path) -> FastAPI:
    batcher = Batcher(Engine(folder))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(batcher.run())
        yield
        running.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, float]:
        return await batcher.classify(await request.body())

    return app


if __name__ == "__main__":
    port, model = parse(__doc__)
    uvicorn.run(application(model), host=HOST, port=port, access_log=False, loop="uvloop", http="httptools")
