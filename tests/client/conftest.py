"""Both fakes run as real servers; a test that takes `client` runs once over each protocol with each of the clients."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from swinserve import AsyncClient, Client

from . import fake_grpc, fake_http
from .contract import Asked

FAKES = {"grpc": fake_grpc, "http": fake_http}


@dataclass
class Service:
    url: str
    seen: list[Asked]


class Awaited:
    """An AsyncClient that is used like a Client: each method is awaited on a loop of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*args, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def classify_stream(self, *args: Any, **options: Any) -> Iterator[Any]:
        stream = self._client.classify_stream(*args, **options)
        try:
            while (each := self._runner.run(_next(stream))) is not None:
                yield each
        finally:
            self._runner.run(_closed(stream))

    def __enter__(self) -> "Awaited":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._runner.close()


async def _next(stream: AsyncIterator[Any]) -> Any:
    return await anext(stream, None)


async def _closed(stream: Any) -> None:
    async with aclosing(stream):
        pass


CLIENTS = {"client": Client, "async client": Awaited}


@pytest.fixture(scope="session", params=FAKES)
def running(request: pytest.FixtureRequest) -> Iterator[Service]:
    seen: list[Asked] = []
    with FAKES[request.param].serve(seen) as url:
        yield Service(url, seen)


@pytest.fixture
def service(running: Service) -> Service:
    running.seen.clear()
    return running


@pytest.fixture(params=CLIENTS)
def client(service: Service, request: pytest.FixtureRequest) -> Iterator[Client]:
    with CLIENTS[request.param](service.url, timeout=60.0, retries=0) as client:
        yield client


@pytest.fixture(params=FAKES)
def nobody(request: pytest.FixtureRequest) -> str:
    """A URL where nothing listens."""
    return f"{request.param}://127.0.0.1:1"
