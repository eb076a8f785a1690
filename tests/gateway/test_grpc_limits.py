"""gRPC's own server under our options; what needs the whole service is in tests/e2e/test_connections.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from swin_gateway.grpc_limits import server_options
from swin_gateway.settings import ServeSettings

METHOD = "/a.Service/Call"


class Service(grpc.GenericRpcHandler):
    """Answers every call after a moment, and remembers who called."""

    def __init__(self) -> None:
        self.peers: set[str] = set()
        self.now = self.most = 0

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.peers.add(context.peer())
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.05)
        self.now -= 1
        return request


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[tuple[Service, grpc.aio.Channel]]:
    server = grpc.aio.server(options=server_options(ServeSettings.load(limits), 10_000))
    service = Service()
    server.add_generic_rpc_handlers([service])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service, channel
    await server.stop(0)


async def test_old_connections_are_replaced_without_a_failed_call() -> None:
    async with serving(grpc_max_age=0.5) as (service, channel):
        call = channel.unary_unary(METHOD)
        started = time.monotonic()
        while len(service.peers) < 3:
            assert time.monotonic() - started < 30
            assert await asyncio.gather(*(call(b"x", timeout=20) for _ in range(5))) == [b"x"] * 5


async def test_no_more_calls_at_a_time_than_streams_and_the_others_may_try_again() -> None:
    async with serving(grpc_max_streams=4) as (service, channel):
        call = channel.unary_unary(METHOD)
        left = 20
        async with asyncio.timeout(30):
            while left:
                answers = await asyncio.gather(*(call(b"x") for _ in range(left)), return_exceptions=True)
                refused = [each for each in answers if isinstance(each, grpc.aio.AioRpcError)]
                assert {each.code() for each in refused} <= {grpc.StatusCode.UNAVAILABLE}
                assert left - len(refused) == answers.count(b"x")
                left = len(refused)
        assert 1 < service.most <= 4


async def test_every_setting_becomes_an_option() -> None:
    names = ("max_connections", "header_timeout", "idle_timeout", "stall_timeout", "grpc_max_streams")
    for name in (*names, "grpc_ping_interval", "grpc_max_age", "grpc_age_grace"):
        changed = ServeSettings.load({name: 77})
        assert {77, 77_000} & {value for _, value in server_options(changed, 1)}, name
    assert ("grpc.max_metadata_size", 7777) in server_options(ServeSettings.load({"max_header_bytes": 7777}), 1)
