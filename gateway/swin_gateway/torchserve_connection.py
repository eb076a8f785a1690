"""One HTTP/1.1 connection to TorchServe's REST: one request at a time, bytes there and bytes back.

A general client (httpx, aiohttp) takes as long for a call of a kilobyte as all the rest of the gateway does.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from httptools import HttpParserError, HttpResponseParser


class Reply(NamedTuple):
    status: int
    body: bytes


class TorchServeConnection(asyncio.Protocol):
    """Made by `connect`; free for the next request when `post` has returned, unless it is `closed`."""

    def __init__(self) -> None:
        self.closed = False
        self._parser = HttpResponseParser(self)
        self._body: list[bytes] = []
        self._reply: asyncio.Future[Reply] | None = None

    async def post(self, head: bytes, body: bytes) -> Reply:
        """head: the request line and headers, each line with its end, without a length

        Raises:
            ConnectionError: the connection ended before the answer had come, or what came is no HTTP.
        """
        if self.closed:
            raise ConnectionResetError("TorchServe has closed the connection")
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        return await self._reply

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(ConnectionAbortedError(f"TorchServe's answer is no HTTP: {error}"))
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._fail(exc if isinstance(exc, ConnectionError) else ConnectionResetError("TorchServe hung up"))

    # What the parser calls:

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        reply = Reply(self._parser.get_status_code(), b"".join(self._body))
        self._body.clear()
        if not self._parser.should_keep_alive():
            self.closed = True
            self._transport.close()
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def _fail(self, error: ConnectionError) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)


async def connect(address: str) -> TorchServeConnection:
    """address: unix:PATH or http://HOST:PORT. Raises OSError."""
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        _, connection = await loop.create_unix_connection(TorchServeConnection, address.removeprefix("unix:"))
    else:
        host, _, port = address.removeprefix("http://").rpartition(":")
        _, connection = await loop.create_connection(TorchServeConnection, host, int(port))
    return connection
