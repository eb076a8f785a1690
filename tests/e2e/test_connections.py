"""Clients that use connections badly, and the real service with small limits: they are ended, others see nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

import swinserve
from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image, ListModelsRequest
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from tests.e2e import http2_frames as http2
from tests.e2e.callers import calling, further
from tests.e2e.running import Running, get, service, status, until, value

CONNECTIONS = 60
LIMITS = {
    "max_connections": CONNECTIONS,
    "max_header_bytes": 8192,
    "header_timeout": 2,
    "idle_timeout": 3,
    "stall_timeout": 5,
    "grpc_max_streams": 20,
    "grpc_ping_interval": 60,
    "max_request_bytes": 4_000_000,
    "max_pending_bytes": 10_000_000,
}
CLASSIFY = "/swinserve.v1.Classifier/Classify"


@pytest.fixture(scope="module")
def limited(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = [word for name, limit in LIMITS.items() for word in (f"--{name.replace('_', '-')}", str(limit))]
    with service(tmp_path_factory.mktemp("limited"), "swin_digits", "--model-store", store, *flags) as running:
        yield running


@pytest.fixture
def _others_see_nothing(limited: Running, digit: Path) -> Iterator[None]:
    with calling(limited.grpc, limited.http, image=digit, count=2) as both:
        further(both, 3, 60)
        yield
        further(both, 3, 60)
    assert [set(callers.outcomes) for callers in both] == [{"right"}, {"right"}]
    assert limited.ready()


def rest(limited: Running, content: bytes = b"", *, receive_buffer: int = 0) -> socket.socket:
    host, _, port = limited.http.removeprefix("http://").rpartition(":")
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    connection.connect((host, int(port)))
    connection.sendall(content)
    return connection


def last_words(connection: socket.socket) -> bytes:
    """All that the server says until it closes."""
    said = b""
    with connection, contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            said += part
    return said


def trickle(connection: socket.socket, byte: bytes, seconds: float) -> float:
    """Sends a byte five times a second until the server has closed; after how many seconds that was."""
    started = time.monotonic()
    connection.settimeout(0.2)
    with connection, contextlib.suppress(ConnectionError):
        while time.monotonic() - started < seconds:
            connection.send(byte)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1000):
                    break
    return time.monotonic() - started


def closed(limited: Running, cause: str) -> int:
    series = f'swinserve_closed_connections_total{{cause="{cause}"}} '
    (line,) = [each for each in get(limited.metrics).splitlines() if each.startswith(series)]
    return int(float(line.removeprefix(series)))


def slow_headers(limited: Running) -> tuple[float, list[bytes]]:
    first, *others = (rest(limited, b"GET /livez HTTP/1.1\r\nHost: x\r\n") for _ in range(10))
    return trickle(first, b"x", 60), [last_words(connection) for connection in others]


def slow_body(limited: Running) -> tuple[bytes, float]:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nx-request-timeout: 1\r\n\r\n"
    connection, said = rest(limited, head), b""
    connection.settimeout(0.2)
    started = time.monotonic()
    while b"DEADLINE_EXCEEDED" not in said and time.monotonic() - started < 60:
        connection.send(b"x")
        with contextlib.suppress(TimeoutError):
            said += connection.recv(1000)
    return said, trickle(connection, b"x", 60)  # it has been answered, and goes on sending


def refused_body(limited: Running) -> tuple[bytes, float]:
    connection = rest(limited, b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    return connection.recv(20), trickle(connection, b"x", 60)


def unread_answers(limited: Running) -> None:
    with rest(limited, receive_buffer=2048) as connection:
        connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:  # until the service does not read on, because nothing of what it wrote is taken
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        until(lambda: closed(limited, "stalled_answer"), 60)


def idle(limited: Running) -> tuple[bytes, bytes]:
    """Of one that says nothing, and of one that was used."""
    silent, used = rest(limited), rest(limited, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    return last_words(silent), last_words(used)


def idle_grpc(limited: Running) -> list[int]:
    connection = http2.Connection(limited.grpc)
    codes = connection.goodbyes()
    connection.close()
    return codes


def silent_grpc(limited: Running) -> float:
    host, _, port = limited.grpc.removeprefix("grpc://").rpartition(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        while connection.recv(1000):  # its settings
            pass
    return time.monotonic() - started


SLOW = (slow_headers, slow_body, refused_body, unread_answers, idle, idle_grpc, silent_grpc)


@pytest.fixture(scope="module")
def ends(limited: Running, digit: Path) -> dict[str, Any]:
    """How the service ended each kind of slow client, all at once, while others were answered."""
    with calling(limited.grpc, limited.http, image=digit, count=2) as both, ThreadPoolExecutor(len(SLOW)) as pool:
        further(both, 3, 60)
        running = {kind.__name__: pool.submit(kind, limited) for kind in SLOW}
        found = {name: future.result() for name, future in running.items()}
        further(both, 3, 60)
    assert [set(callers.outcomes) for callers in both] == [{"right"}, {"right"}]
    return found


def test_headers_a_byte_at_a_time_are_cut_off(limited: Running, ends: dict[str, Any]) -> None:
    took, answers = ends["slow_headers"]
    print(f"slow headers: cut after {took:.1f} s")
    assert took < 60
    assert all(answer.startswith(b"HTTP/1.1 408 ") and b"TOO_SLOW" in answer for answer in answers)
    assert closed(limited, "too_slow") >= 10


def test_a_body_a_byte_at_a_time_has_its_calls_deadline_and_no_more(ends: dict[str, Any]) -> None:
    said, took = ends["slow_body"]
    print(f"slow body: 504, and cut {took:.1f} s later")
    assert said.startswith(b"HTTP/1.1 504 ")
    assert took < 60


def test_a_refused_body_that_goes_on_for_ever_is_cut_too(ends: dict[str, Any]) -> None:
    said, took = ends["refused_body"]
    print(f"refused body: 404, and cut {took:.1f} s later")
    assert said.startswith(b"HTTP/1.1 404 ")
    assert took < 60


def test_a_client_that_does_not_read_its_answers_is_cut(limited: Running, ends: dict[str, Any]) -> None:
    assert closed(limited, "stalled_answer") == 1


def test_idle_connections_end(ends: dict[str, Any]) -> None:
    silent, used = ends["idle"]
    assert silent == b""
    assert used.startswith(b"HTTP/1.1 200 ")


def test_an_idle_grpc_connection_is_told_to_go_away(ends: dict[str, Any]) -> None:
    assert ends["idle_grpc"]


def test_a_grpc_connection_that_says_nothing_is_closed(ends: dict[str, Any]) -> None:
    print(f"gRPC: a handshake that did not come was given up after {ends['silent_grpc']:.1f} s")
    assert ends["silent_grpc"] < 60


@pytest.mark.usefixtures("_others_see_nothing")
def test_connections_too_many_are_closed_at_once(limited: Running, digit: Path) -> None:
    before = closed(limited, "too_many")
    kept = [rest(limited) for _ in range(CONNECTIONS + 10)]  # at once, before the first ones have been idle too long
    try:
        until(lambda: closed(limited, "too_many") >= before + 10, 20)
        print(f"REST: {closed(limited, 'too_many') - before} of {len(kept)} more connections were closed")
        assert last_words(kept.pop()) == b""
    finally:
        for connection in kept:
            connection.close()
    until(lambda: status(f"{limited.http}/livez") == 200, 20)


@pytest.mark.usefixtures("_others_see_nothing")
def test_grpc_connections_too_many_are_closed_at_once(limited: Running) -> None:
    kept: list[http2.Connection] = []
    try:
        for _ in range(CONNECTIONS + 10):
            with contextlib.suppress(ConnectionError):
                kept.append(http2.Connection(limited.grpc))
        open_ones = 0
        for connection in kept:
            with contextlib.suppress(ConnectionError):
                open_ones += bool(next(connection.frames(), None))
        print(f"gRPC: {open_ones} of {CONNECTIONS + 10} connections beside the callers' were served")
        assert 0 < open_ones < CONNECTIONS
    finally:
        for connection in kept:
            connection.close()
    with swinserve.Client(limited.grpc, timeout=20) as client:
        until(lambda: served(client), 20)


def served(client: swinserve.Client) -> bool:
    try:
        return bool(client.models())
    except swinserve.SwinserveError:
        return False


@pytest.mark.usefixtures("_others_see_nothing")
def test_a_grpc_client_that_pings_all_the_time_is_told_to_calm_down(limited: Running) -> None:
    connection = http2.Connection(limited.grpc)
    with contextlib.suppress(ConnectionError):
        for number in range(20):
            connection.socket.sendall(http2.frame(http2.PING, struct.pack(">Q", number)))
            time.sleep(0.05)
    assert http2.ENHANCE_YOUR_CALM in connection.goodbyes()
    connection.close()


def test_metadata_over_the_limit_is_refused(limited: Running) -> None:
    with grpc.insecure_channel(limited.grpc.removeprefix("grpc://")) as channel:
        stub = ClassifierStub(channel)
        stub.ListModels(ListModelsRequest(), metadata=(("x-much", "x" * 6000),), timeout=20)
        with pytest.raises(grpc.RpcError) as refusal:
            stub.ListModels(ListModelsRequest(), metadata=(("x-much", "x" * 10_000),), timeout=20)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.usefixtures("_others_see_nothing")
def test_streams_opened_and_reset_as_fast_as_can_be_do_no_harm(limited: Running, digit: Path) -> None:
    """CVE-2023-44487: each reset makes room for the next stream, while the server still works for the last."""
    message = ClassifyRequest(images=[Image(content=digit.read_bytes())]).SerializeToString()
    body = b"\0" + struct.pack(">I", len(message)) + message
    head = http2.call(CLASSIFY)
    ends: Counter[str] = Counter()
    sent = 0
    for _ in range(3):
        connection = http2.Connection(limited.grpc)
        try:
            for stream in range(1, 4000, 2):
                cancel = http2.frame(http2.RST_STREAM, struct.pack(">I", http2.CANCEL), stream=stream)
                opened = http2.frame(http2.HEADERS, head, flags=http2.END_HEADERS, stream=stream)
                said = http2.frame(http2.DATA, body, flags=http2.END_STREAM, stream=stream) if stream % 8 == 1 else b""
                connection.socket.sendall(opened + said + cancel)
                sent += 1
            ends["taken"] += 1
        except (ConnectionError, TimeoutError):
            ends["cut"] += 1
        connection.close()
    print(f"rapid reset: {sent} streams over 3 connections, {dict(ends)}")
    until(lambda: value(get(limited.metrics), "queue_images") < 50, 60)


@pytest.mark.usefixtures("_others_see_nothing")
def test_headers_without_end_over_http2_do_no_harm(limited: Running) -> None:
    """The CONTINUATION flood: headers that never end, in frame after frame."""
    gateway = psutil.Process(limited.pid)
    before = gateway.memory_info().rss
    connection = http2.Connection(limited.grpc)
    field = http2.headers(**{f"x{number}": "y" * 1000 for number in range(10)})
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        connection.socket.sendall(http2.frame(http2.HEADERS, http2.call(CLASSIFY), stream=1))
        for _ in range(30_000):
            connection.socket.sendall(http2.frame(http2.CONTINUATION, field, stream=1))
            sent += len(field)
    grown = gateway.memory_info().rss - before
    connection.close()
    print(f"CONTINUATION flood: {sent / 1e6:.0f} MB sent, the gateway grew by {grown / 1e6:.1f} MB")
    assert grown < 200e6  # of 300 MB sent
