"""A TCP connection that is to speak TLS: counted from the start, and given its time, then handed on.

asyncio's servers tell of a connection when its handshake is over. Until then nobody would count it, though it holds
as much memory as any, and a client that says nothing could keep it for a minute.
"""

from __future__ import annotations

import asyncio
import ssl
import traceback
from collections.abc import Callable

from swin_gateway.connection_limits import ConnectionLimits
from swin_gateway.tls_transport import TlsTransport

CLOSE_SECONDS = 24 * 3600.0
"""asyncio's own limit, which would cut off answers that are taken slowly: the connection has its own clock for them."""


class Handshake(asyncio.Protocol):
    """Until it is over, one of the server's `connections`."""

    def __init__(
        self,
        behind: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        connections: set[asyncio.Protocol],
        *,
        limits: ConnectionLimits,
        closed: Callable[[str], None],
    ) -> None:
        """behind: makes who gets the connection; closed: told why, when it does not for what its client does"""
        self._behind = behind
        self._context = context
        self._connections = connections
        self._limits = limits
        self._closed = closed
        self._early = b""
        """What came right behind the handshake."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self._connections) >= self._limits.connections:
            self._closed("too_many")
            transport.abort()
            return
        self._connections.add(self)
        self.transport = transport
        transport.pause_reading()  # what comes is for the handshake, which begins a moment later
        self._task = asyncio.create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        self._early += data

    def shutdown(self) -> None:
        """What uvicorn asks of each connection when it is to end."""
        self._connections.discard(self)
        self._task.cancel()
        self.transport.abort()

    async def _shake_hands(self) -> None:
        try:
            secure = await asyncio.get_running_loop().start_tls(
                self.transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._limits.header_seconds,
                ssl_shutdown_timeout=CLOSE_SECONDS,
            )
        except OSError as error:
            if isinstance(error, ConnectionAbortedError):  # so asyncio says that it took too long
                self._closed("too_slow")
            traceback.clear_frames(error.__traceback__)  # they hold each other and the buffers, and no more is freed
            return
        finally:
            self._connections.discard(self)
        if secure is None:  # the client has gone without a word
            return
        behind = self._behind()
        secure.set_protocol(behind)
        behind.connection_made(TlsTransport(secure, self.transport))
        if self._early:
            behind.data_received(self._early)
