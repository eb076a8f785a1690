"""One client's HTTP/1.1 connection: uvicorn's own, with limits in bytes and in time, and strict about requests.

    idle → head → body → answer → idle …    each has its time, and an answer must be taken, too

What happens only notes the time; a look at the clock once a second decides. A call costs next to nothing more.
"""

from __future__ import annotations

import asyncio
import enum
import json
import ssl
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from swin_gateway.connection_limits import ConnectionLimits
from swin_gateway.errors import HeadersTooLarge, InvalidRequest, ServingError, TooSlow
from swin_gateway.handshake import Handshake
from swin_gateway.request_id import REQUEST_ID, request_id_from
from swin_gateway.rest_json import error_body
from swin_gateway.security_headers import security_headers
from swin_gateway.unsent_bytes import UnsentBytes

LAST_WORDS_SECONDS = 2.0
"""What still comes after a refusal is taken and thrown away for so long: closed at once, the refusal could be lost."""
VERSIONS = ("1.0", "1.1")


class Phase(enum.Enum):
    """What is expected of the client."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class RestConnection(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        closed: Callable[[str], None],
    ) -> None:
        """closed: told why, for each connection that is closed for what its client does"""
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._closed = closed
        self._timer: asyncio.TimerHandle | None = None
        self._phase = Phase.IDLE
        self._since = 0.0
        """When the phase began, or brought something last."""
        self._overhead = 0
        """Bytes since the last that were a whole head or some of a body."""
        self._queued = 0
        """Bytes of the heads that wait for the answers to earlier requests."""
        self._unanswered = 0
        self._refusal: ServingError | None = None
        """Why a callback ended the parsing."""
        self._deaf = False
        """Whether nothing that comes is a request any more."""
        self._unsent = UnsentBytes(limits.stall_seconds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self._limits.connections:
            self.transport = transport
            self._cut("too_many")
            return
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self._limits.look_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        self._overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # the parser would take what follows for a request of its own
            self._deaf, self.cycle.keep_alive = True, False
        except httptools.HttpParserError:
            self._refuse(self._refusal or InvalidRequest("this is not HTTP/1.1 as it is written down in RFC 9112"))
        else:
            if self._overhead > self._limits.header_bytes:
                self._refuse(self._headers_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._enter(Phase.HEAD)

    def on_headers_complete(self) -> None:
        self._check_head()
        super().on_headers_complete()
        self.headers = []  # for what comes behind a body, which could be anything
        self._unanswered += 1
        self._overhead = 0
        self._enter(Phase.BODY)

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        if not self.cycle.response_complete:  # the rest of what was answered already has its time as a whole
            self._since = self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._overhead = 0
        self._enter(Phase.IDLE)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # uvicorn would close it however much of the answer is still to be taken
        self._unanswered -= 1
        self._since = self.loop.time()
        if self._unanswered:
            return
        self._queued = 0
        # A client that asked whether to send its body, and was answered instead, may send it or not: what comes next
        # could be either the body or a request.
        if self._deaf or (self.expect_100_continue and self._phase is Phase.BODY):
            self.transport.close()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = self.loop.time()

    def _check_head(self) -> None:
        """Raises, which ends the parsing, and notes why."""
        size = len(self.url) + sum(map(len, chain.from_iterable(self.headers)))
        if self._unanswered:
            size += self._queued
            self._queued = size
        if size > self._limits.header_bytes:
            self._refusal = self._headers_too_large()
        elif self.parser.get_http_version() not in VERSIONS:
            self._refusal = InvalidRequest("speak HTTP/1.1")
        elif self.parser.should_upgrade() and self._has_body():
            self._refusal = InvalidRequest("a request for another protocol cannot have a body; speak HTTP/1.1")
        if self._refusal is not None:
            raise self._refusal

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in self.headers
        )

    def _headers_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"more than the {self._limits.header_bytes} bytes of request line and headers taken")

    def _refuse(self, error: ServingError) -> None:
        """Answers with `error` and takes no more requests; earlier ones are answered first, and are then the last."""
        self._closed(error.outcome)
        self._deaf = True
        self._since = self.loop.time()
        if self._phase is Phase.BODY:
            if self.cycle.response_complete:
                return  # it was answered before its body went wrong
            if self.cycle.response_started:
                self.transport.abort()
                return
            if self.pipeline:  # it waits there, and has not begun
                self.pipeline.popleft()
            self.cycle.disconnected = True  # for whoever reads the body: the rest will not come
            self.cycle.message_event.set()
            self._unanswered -= 1
        if not self._unanswered:
            self._write(error)

    def _write(self, error: ServingError) -> None:
        request_id = request_id_from(None)
        body = json.dumps(error_body(error, request_id)).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (REQUEST_ID.encode(), request_id.encode()),
            (b"connection", b"close"),
        ]
        headers += security_headers(headers, scheme=self.scheme or "http")
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[error.http] + lines + b"\r\n" + body)

    def _cut(self, cause: str) -> None:
        self._closed(cause)
        self.transport.abort()

    def _look(self) -> None:
        """Ends a connection that has had its time."""
        now = self.loop.time()
        self._timer = self.loop.call_later(self._limits.look_seconds, self._look)
        waited = now - self._since
        rested = now - max(self._since, self._unsent.last)
        if self._unsent.stall(self.transport, now):
            self._cut("stalled_answer")
        elif self.transport.is_closing():
            if not self._unanswered and rested > LAST_WORDS_SECONDS:  # TLS waits for the client to agree
                self.transport.abort()
        elif self._deaf:
            if not self._unanswered and rested > LAST_WORDS_SECONDS:
                self.transport.close()
        elif self.flow.read_paused:
            pass  # it is not the client who is slow
        elif self._phase is Phase.IDLE:
            if not self._unanswered and rested > self._limits.idle_seconds:
                self.transport.close()
        elif self._phase is Phase.HEAD:
            if waited > self._limits.header_seconds:
                self._refuse(TooSlow(f"the request's headers took longer than {self._limits.header_seconds:g} s"))
        elif waited > self._limits.stall_seconds:
            self._cut("stalled_body")


def protocol(
    limits: ConnectionLimits, closed: Callable[[str], None], context: ssl.SSLContext | None = None
) -> type[asyncio.Protocol]:
    """What uvicorn takes as its `http`. context: for TLS, of which uvicorn need not know"""

    def connection(**facts: Any) -> asyncio.Protocol:
        rest = partial(RestConnection, **facts, limits=limits, closed=closed)
        if context is None:
            return rest()
        return Handshake(rest, context, facts["server_state"].connections, limits=limits, closed=closed)

    return cast("type[asyncio.Protocol]", connection)
