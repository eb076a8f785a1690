"""Requests as no client should write them, byte by byte to the real service.

Each gets an answer or an end, never a 5xx and never silence; and what is hidden in one is never answered as another.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.e2e.running import Running

END = b"Connection: close\r\n\r\n"
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-request-id: hidden\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True)
class Odd:
    content: bytes
    wanted: tuple[int, ...]
    """The statuses of the answers, in order; none: it is just ended."""


def sized(head: bytes, body: bytes, *lengths: int) -> bytes:
    return head + b"".join(b"Content-Length: %d\r\n" % length for length in lengths or (len(body),)) + b"\r\n" + body


CASES = {
    # Two lengths of one body: where one server sees its end, another sees the next request.
    "two Content-Lengths": Odd(sized(POST, HIDDEN, 0, len(HIDDEN)), (400,)),
    "the same Content-Length twice": Odd(sized(POST, b"abc", 3, 3), (400,)),
    "Content-Length list": Odd(POST + b"Content-Length: 0, 5\r\n\r\n" + HIDDEN, (400,)),
    "Content-Length signed": Odd(POST + b"Content-Length: +3\r\n\r\nabc" + HIDDEN, (400,)),
    "Content-Length negative": Odd(POST + b"Content-Length: -1\r\n\r\n" + HIDDEN, (400,)),
    "Content-Length hexadecimal": Odd(POST + b"Content-Length: 0x3\r\n\r\nabc", (400,)),
    "Content-Length beyond 64 bits": Odd(POST + b"Content-Length: 18446744073709551617\r\n\r\nabc", (400,)),
    "Content-Length of 5,000 digits": Odd(POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc", (400,)),
    "space before the colon": Odd(POST + b"Content-Length : 3\r\n\r\nabc", (400,)),
    "Content-Length and chunked": Odd(sized(CHUNKED, b"0\r\n\r\n" + HIDDEN, 5), (400,)),
    "chunked and Content-Length": Odd(
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, (400,)
    ),
    "chunked twice": Odd(POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + HIDDEN, (400,)),
    "chunked not last": Odd(POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN, (400,)),
    "an unknown coding": Odd(POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN, (400,)),
    "chunked with a tab": Odd(
        POST + b"Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + HIDDEN, (400,)
    ),
    "chunked over HTTP/1.0": Odd(
        b"POST /v1/classify HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + HIDDEN,
        (400,),
    ),
    # Chunked nonsense.
    "a chunk size that is none": Odd(CHUNKED + b"\r\nxyz\r\n" + HIDDEN, (400,)),
    "a chunk size beyond 64 bits": Odd(CHUNKED + b"\r\n10000000000000001\r\nabc\r\n", (400,)),
    "a negative chunk": Odd(CHUNKED + b"\r\n-1\r\nabc\r\n", (400,)),
    "a chunk longer than it says": Odd(CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n" + HIDDEN, (400,)),
    "a chunk extension": Odd(CHUNKED + END[:-2] + b"\r\n3;a=b\r\nabc\r\n0\r\n\r\n", (415,)),
    "a chunk extension with a line feed": Odd(CHUNKED + b"\r\n3;\nabc\r\n0\r\n\r\n" + HIDDEN, (400,)),
    "a length behind the body": Odd(
        CHUNKED + END[:-2] + b"\r\n3\r\nabc\r\n0\r\nContent-Length: 500\r\nx-request-id: hidden\r\n\r\n", (400,)
    ),
    # Lines and names.
    "bare line feeds": Odd(b"GET /livez HTTP/1.1\nHost: x\nConnection: close\n\n", (400,)),
    "a bare line feed hides a length": Odd(POST + b"a: b\nContent-Length: 80\r\n\r\n" + HIDDEN, (400,)),
    "bare carriage returns": Odd(b"GET /livez HTTP/1.1\rHost: x\r\r", (400,)),
    "a folded header": Odd(LIVEZ + b"a: b\r\n c\r\n" + END, (400,)),
    "a header without a colon": Odd(LIVEZ + b"nonsense\r\n" + END, (400,)),
    "a header without a name": Odd(LIVEZ + b": x\r\n" + END, (400,)),
    "NUL in a header": Odd(LIVEZ + b"a: b\0c\r\n" + END, (400,)),
    "NUL in the path": Odd(b"GET /liv\0ez HTTP/1.1\r\nHost: x\r\n" + END, (400,)),
    "%00 in the path": Odd(b"GET /livez%00 HTTP/1.1\r\nHost: x\r\n" + END, (404,)),
    "%0d%0a in the path": Odd(b"GET /livez%0d%0aSet-Cookie:a=b HTTP/1.1\r\nHost: x\r\n" + END, (404,)),
    "bytes beyond ASCII in the path": Odd(b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n" + END, (400,)),
    "a path of 20,000": Odd(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n" + END, (431,)),
    "a query of 20,000": Odd(b"GET /livez?" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n" + END, (431,)),
    "1,000 headers": Odd(LIVEZ + b"".join(b"a%d: %b\r\n" % (n, b"x" * 20) for n in range(1000)) + END, (431,)),
    "one header of 20,000": Odd(LIVEZ + b"a: " + b"x" * 20_000 + b"\r\n" + END, (431,)),
    "dots in the path": Odd(b"GET /docs/../../etc/passwd HTTP/1.1\r\nHost: x\r\n" + END, (404,)),
    "a whole URL": Odd(b"GET http://elsewhere/livez HTTP/1.1\r\nHost: x\r\n" + END, (200,)),
    # Methods and versions.
    "HTTP/0.9": Odd(b"GET /livez\r\n\r\n", (400,)),
    "HTTP/1.0": Odd(b"GET /livez HTTP/1.0\r\n\r\n", (200,)),
    "HTTP/1.2": Odd(b"GET /livez HTTP/1.2\r\nHost: x\r\n" + END, (400,)),
    "HTTP/2 without asking": Odd(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "TLS where there is none": Odd(bytes.fromhex("16030100050100000100") + bytes(20), (400,)),
    "nonsense": Odd(b"\xde\xad\xbe\xef" * 10 + b"\r\n\r\n", (400,)),
    "an unknown method": Odd(b"BREW /livez HTTP/1.1\r\nHost: x\r\n" + END, (400,)),
    "TRACE": Odd(b"TRACE /livez HTTP/1.1\r\nHost: x\r\n" + END, (405,)),
    "CONNECT": Odd(b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN, (400,)),
    "OPTIONS *": Odd(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n" + END, (404,)),
    "DELETE a model": Odd(b"DELETE /v1/models/swin_digits HTTP/1.1\r\nHost: x\r\n" + END, (405,)),
    "HEAD": Odd(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n" + END, (405,)),
    "GET with a body": Odd(sized(LIVEZ + b"Connection: close\r\n", b"abc"), (200,)),
    # More than one.
    "pipelined": Odd(LIVEZ + b"\r\n" + LIVEZ + b"\r\n" + LIVEZ + END, (200, 200, 200)),
    "more behind the last": Odd(LIVEZ + END + HIDDEN, (200,)),
    "rubbish behind a request": Odd(LIVEZ + b"\r\n" + b"\0\0\0\r\n\r\n", (200,)),
    "a request for another protocol": Odd(
        LIVEZ
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        (200,),
    ),
    "a body behind a request for another protocol": Odd(
        sized(POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n", HIDDEN), (400,)
    ),
    "Expect: 100-continue": Odd(sized(POST + b"Expect: 100-continue\r\nConnection: close\r\n", b"abc"), (100, 415)),
    "Expect something else": Odd(sized(POST + b"Expect: the-unexpected\r\nConnection: close\r\n", b"abc"), (415,)),
    "Expect: 100-continue of a path there is not": Odd(
        b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n" + HIDDEN, (404,)
    ),
}


@pytest.fixture(scope="module")
def answers(shared: Running) -> dict[str, bytes]:
    """All that each was answered until the service closed its connection; all at once, because a refusal lingers."""
    host, _, port = shared.http.removeprefix("http://").rpartition(":")
    connections = {name: socket.create_connection((host, int(port)), timeout=30) for name in CASES}
    for name, connection in connections.items():
        connection.sendall(CASES[name].content)
    found = {name: read_to_the_end(connection) for name, connection in connections.items()}
    counted = Counter(status for answer in found.values() for status in statuses(answer))
    print(f"\nodd requests: {len(CASES)}; answers: {dict(sorted(counted.items()))}")
    return found


def read_to_the_end(connection: socket.socket) -> bytes:
    answer = b""
    with connection:
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    return answer


def statuses(answer: bytes) -> tuple[int, ...]:
    return tuple(int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer))


@pytest.mark.parametrize("name", CASES)
def test_an_odd_request_gets_its_answer_and_hides_no_other(
    shared: Running, answers: dict[str, bytes], name: str
) -> None:
    print(f"{name}: {statuses(answers[name]) or 'ended'}")
    assert b"hidden" not in answers[name]
    assert statuses(answers[name]) == CASES[name].wanted
    assert b"set-cookie" not in answers[name].lower().partition(b"\r\n\r\n")[0]
    assert shared.ready()
