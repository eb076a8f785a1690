"""What clients may do with a connection, by bytes that they write to a socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket

import pytest

from swin_gateway import connection_limits, rest_connection

from .assembly import until
from .rest_server import LARGE, running

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for a look at the clock, or for last words to be heard."""
    monkeypatch.setattr(connection_limits, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(rest_connection, "LAST_WORDS_SECONDS", 0.1)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def error(answer: bytes) -> dict[str, str]:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]  # type: ignore[no-any-return]


async def test_a_connection_is_kept_for_one_request_after_another() -> None:
    async with running() as served:
        reader, writer = await served.connect()
        for number in range(3):
            writer.write(GET % str(number).encode())
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"/%d" % number
        writer.close()
    assert not served.closed


async def test_headers_over_the_limit_are_refused_whether_they_come_whole_or_never_end() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"a%d: %b\r\n" % (n, b"x" * 90) for n in range(25)) + b"\r\n"
    endless = b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"x" * 3000
    url = b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    async with running() as served:
        for content in (whole, endless, url):
            answer = await served.told(content)
            assert statuses(answer) == [431]
            assert error(answer)["reason"] == "HEADERS_TOO_LARGE"
            assert error(answer)["request_id"].encode() in answer.partition(b"\r\n\r\n")[0]
        assert not served.app.seen
        assert served.closed == {"headers_too_large": 3}


async def test_headers_behind_a_body_are_neither_kept_nor_without_end() -> None:
    start = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    async with running() as served:
        reader, writer = await served.connect(start + b"x-request-timeout: 5\r\n\r\n" + SECOND)
        assert await reader.readuntil(b"/second")
        assert served.app.bodies == [b"x", b""]
        writer.close()
        for endless in (start + b"a: ", start[:-3] + b"5;"):
            reader, writer = await served.connect(endless)
            await until(lambda: served.server.server_state.connections)
            await asyncio.sleep(0.05)
            writer.write(b"x" * 3000)
            assert statuses(await asyncio.wait_for(reader.read(), 20)) == [431]
            writer.close()


async def test_headers_that_take_too_long_are_408_and_the_body_has_its_own_time() -> None:
    async with running(header_seconds=0.2) as served:
        slow = await served.told(b"GET / HTTP/1.1\r\nHost:")
        assert statuses(slow) == [408]
        assert error(slow)["reason"] == "TOO_SLOW"
        reader, writer = await served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        for byte in (b"a", b"b", b"c"):
            await asyncio.sleep(0.2)
            writer.write(byte)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert served.app.bodies == [b"abc"]
        assert served.closed == {"too_slow": 1}


@pytest.mark.parametrize("first", [b"", b"\r\n", GET % b""], ids=["nothing", "empty lines", "a request"])
async def test_an_idle_connection_is_closed_after_its_time(first: bytes) -> None:
    async with running(idle_seconds=0.2) as served:
        reader, writer = await served.connect(first)
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()
        assert not served.closed  # nothing to hold against it


async def test_a_call_that_is_being_answered_is_not_idle() -> None:
    async with running(idle_seconds=0.1, header_seconds=0.1, stall_seconds=0.1) as served:
        reader, writer = await served.connect(GET % b"wait")
        await asyncio.sleep(0.5)
        served.app.gate.set()
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.close()


async def test_a_body_that_stands_still_is_cut_and_its_call_told() -> None:
    async with running(stall_seconds=0.2) as served:
        reader, writer = await served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await until(lambda: served.app.disconnected == 1)
        writer.close()
        assert served.closed == {"stalled_body": 1}


async def test_the_rest_of_a_body_that_was_answered_has_its_time_as_a_whole() -> None:
    """Sent on byte after byte it would hold the connection for ever."""
    async with running(stall_seconds=0.3) as served:
        reader, writer = await served.connect(b"POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.02)
        assert served.closed == {"stalled_body": 1}


async def test_the_rest_of_a_body_that_was_answered_is_no_request() -> None:
    async with running() as served:
        reader, writer = await served.connect(
            b"POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SECOND)
        )
        await reader.readexactly(1)
        writer.write(SECOND + GET % b"third")
        assert await reader.readuntil(b"/third")
        writer.close()
        assert served.app.seen == ["/now", "/third"]


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_and_one_that_is_slow_is_not() -> None:
    async with running(stall_seconds=2.0) as served:
        slow, silent = await served.connect(GET % b"large"), await served.connect(GET % b"large")
        left = LARGE
        async with asyncio.timeout(60):
            await slow[0].readuntil(b"\r\n\r\n")
            while left:
                left -= len(await slow[0].read(1_000_000))
                await asyncio.sleep(0.02)
        await until(lambda: served.closed == {"stalled_answer": 1}, 20)
        for _, writer in (slow, silent):
            writer.close()


@pytest.mark.parametrize(("bytes_a_second", "cut"), [(200_000, {}), (5_000, {"stalled_answer": 1})])
async def test_an_answer_may_be_taken_slowly_but_not_for_ever(bytes_a_second: int, cut: dict[str, int]) -> None:
    """200 kB/s are less than what the kernel wants to be rid of before it takes more of the server."""
    async with running(stall_seconds=1.5) as served:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(GET % b"large")
            client.setblocking(False)
            for _ in range(40):
                with contextlib.suppress(ConnectionError):
                    await asyncio.wait_for(loop.sock_recv(client, bytes_a_second // 10), 10)
                await asyncio.sleep(0.1)
            assert dict(served.closed) == cut


async def test_a_connection_too_many_is_closed_at_once_and_harms_no_other() -> None:
    async with running(connections=3) as served:
        kept = [await served.connect(GET % b"wait") for _ in range(3)]
        await until(lambda: len(served.app.seen) == 3)
        for _ in range(5):
            with contextlib.suppress(ConnectionResetError):
                assert await served.told(GET % b"") == b""
        assert served.closed == {"too_many": 5}
        served.app.gate.set()
        for reader, writer in kept:
            assert b"200 OK" in await reader.readuntil(b"/wait")
            writer.close()
        await until(lambda: not served.server.server_state.connections)
        assert statuses(await served.told(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")) == [200]


async def test_requests_that_wait_in_the_pipeline_are_bounded_and_the_earlier_ones_answered() -> None:
    async with running(header_bytes=1024) as served:
        last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert statuses(await served.told(SECOND * 20 + last)) == [200] * 21
        many = await served.told(SECOND * 2000)
        assert set(statuses(many)) == {200}
        assert len(statuses(many)) < 200
        assert served.closed == {"headers_too_large": 1}


async def test_rubbish_behind_a_request_ends_the_connection_after_the_answer() -> None:
    async with running() as served:
        assert statuses(await served.told(GET % b"first" + b"\0\0 rubbish\r\n\r\n")) == [200]
        assert statuses(await served.told(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")) == [400]
        assert served.closed == {"invalid_request": 2}


async def test_another_protocol_is_ignored_or_where_it_could_hide_a_request_refused() -> None:
    """Behind headers that ask for another protocol, the parser takes a body for a request."""
    upgrade = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    hidden = b"POST /first HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (upgrade, len(SECOND))
    async with running() as served:
        assert statuses(await served.told(b"GET /first HTTP/1.1\r\n" + upgrade + b"\r\n" + SECOND)) == [200]
        assert statuses(await served.told(hidden + SECOND)) == [400]
        reader, writer = await served.connect(hidden)
        await asyncio.sleep(0.05)
        writer.write(SECOND)
        assert statuses(await asyncio.wait_for(reader.read(), 10)) == [400]
        writer.close()
        assert served.app.seen == ["/first"]


async def test_a_client_that_asks_before_it_sends_hears_continue_or_the_answer_and_the_end() -> None:
    head = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with running() as served:
        reader, writer = await served.connect(head % b"read")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert b"200 OK" in await reader.readuntil(b"/read")
        writer.close()
        assert statuses(await served.told(head % b"now")) == [200]  # read to the end: it was closed
        assert served.app.bodies == [b"abc"]
