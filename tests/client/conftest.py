"""Both fakes run as real servers; a test that takes `client` or `url` runs once over each protocol."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from swinserve import Client

from . import fake_grpc, fake_http
from .contract import Asked

FAKES = {"grpc": fake_grpc, "http": fake_http}


@dataclass
class Service:
    url: str
    seen: list[Asked]


@pytest.fixture(scope="session", params=FAKES)
def running(request: pytest.FixtureRequest) -> Iterator[Service]:
    seen: list[Asked] = []
    with FAKES[request.param].serve(seen) as url:
        yield Service(url, seen)


@pytest.fixture
def service(running: Service) -> Service:
    running.seen.clear()
    return running


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, timeout=5.0, retries=0) as client:
        yield client


@pytest.fixture(params=FAKES)
def nobody(request: pytest.FixtureRequest) -> str:
    """A URL where nothing listens."""
    return f"{request.param}://127.0.0.1:1"
