"""Connections over TLS: counted and timed from the first moment, and answers that are not taken are seen."""

from __future__ import annotations

import asyncio
import asyncio.constants
import contextlib
import gc
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator
from pathlib import Path

import pytest

from swin_gateway import connection_limits, rest_connection
from swin_gateway.tls import Tls

from .assembly import until
from .certificates import Authority
from .rest_server import LARGE, Running, running

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(rest_connection, "LAST_WORDS_SECONDS", 0.1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def context(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    pair = authority.issue(tmp_path)
    return Tls(pair.certificate, pair.key, None).rest_context()


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def tls_connections() -> int:
    """In memory, of this process."""
    return sum(type(each) is SSLProtocol for each in gc.get_objects())  # isinstance would wake lazy objects of others


async def connect(served: Running, authority: Authority, content: bytes, *, limit: int = 2**16) -> Client:
    """limit: half of what the client's side takes before it is read"""
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**17)  # so that what is not taken stays with the server
    plain.connect(("127.0.0.1", served.port))
    plain.setblocking(False)
    reader, writer = await asyncio.open_connection(
        sock=plain, ssl=trusting, server_hostname="localhost", limit=limit, ssl_shutdown_timeout=0.1
    )
    writer.write(content)
    return reader, writer


async def end(reader: asyncio.StreamReader) -> None:
    """That the server closes, in one way or the other."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert await reader.read() == b""


async def test_requests_are_answered_and_known_to_be_https(authority: Authority, context: ssl.SSLContext) -> None:
    async with running(context) as served:
        reader, writer = await connect(served, authority, GET % b"")
        for _ in range(2):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(1)
            writer.write(GET % b"")
        writer.close()
        assert served.app.schemes == {"https"}
    assert not served.closed


async def test_silent_connections_count_and_end_with_the_time_for_headers(
    authority: Authority, context: ssl.SSLContext, no_collection: None
) -> None:
    async with running(context, connections=4, header_seconds=3) as served:
        before = tls_connections()
        kept = await connect(served, authority, GET % b"wait")
        await until(lambda: bool(served.app.seen))
        silent = [await served.connect() for _ in range(3)]
        await until(lambda: len(served.server.server_state.connections) == 4)
        beyond = [await served.connect() for _ in range(5)]
        for reader, _ in beyond:
            await end(reader)
        assert served.closed == {"too_many": 5}
        assert len(served.server.server_state.connections) == 4
        for reader, _ in silent:
            await end(reader)
        assert served.closed == {"too_many": 5, "too_slow": 3}
        await until(lambda: len(served.server.server_state.connections) == 1)
        # Nothing is left of them, without the collector of garbage; of `kept` are the server's end and the client's.
        assert tls_connections() == before + 2
        served.app.gate.set()
        assert b"200 OK" in await kept[0].readuntil(b"\r\n\r\n")
        reader, writer = await connect(served, authority, GET % b"")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        for _, each in (kept, *silent, *beyond, (reader, writer)):
            each.close()


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "no TLS"])
async def test_a_client_that_goes_or_speaks_no_tls_leaves_nothing(context: ssl.SSLContext, words: bytes) -> None:
    async with running(context) as served:
        _, writer = await served.connect(words)
        await until(lambda: bool(served.server.server_state.connections) or bool(words))
        writer.close()
        await until(lambda: not served.server.server_state.connections)
        assert not served.closed


async def test_silent_connections_do_not_hold_up_the_end(context: ssl.SSLContext) -> None:
    async with running(context) as served:
        reader, writer = await served.connect()
        await until(lambda: bool(served.server.server_state.connections))
        served.server.should_exit = True
        await end(reader)
        writer.close()


async def test_a_client_that_takes_nothing_of_its_answer_is_cut(authority: Authority, context: ssl.SSLContext) -> None:
    async with running(context, stall_seconds=0.5, idle_seconds=0.2) as served:
        for request in (GET % b"large", b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
            _, writer = await connect(served, authority, request)
            await until(lambda: bool(served.server.server_state.connections))
            await until(lambda: not served.server.server_state.connections)
            writer.transport.abort()
        assert served.closed == {"stalled_answer": 2}


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
async def test_a_slow_client_has_its_whole_answer_however_long_it_is_idle_with_that(
    authority: Authority, context: ssl.SSLContext, last: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.constants, "SSL_SHUTDOWN_TIMEOUT", 0.1)  # asyncio's own, after which it cuts
    async with running(context, stall_seconds=2.0, idle_seconds=0.1) as served:
        reader, writer = await connect(served, authority, b"GET /large HTTP/1.1\r\nHost: x\r\n" + last + b"\r\n")
        async with asyncio.timeout(60):
            await reader.readuntil(b"\r\n\r\n")
            left = LARGE
            while left:
                content = await reader.read(500_000)
                assert content, f"cut with {left} bytes to come"
                left -= len(content)
                await asyncio.sleep(0.01)
        writer.close()
        assert not served.closed
        await until(lambda: not served.server.server_state.connections)
