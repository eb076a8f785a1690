"""An ASGI application -> a port that serves it, by uvicorn without signals: the service drains all ports together."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from swin_gateway.listening import listen

CLOSE_SECONDS = 1.0


class Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """`bind`, then `start`; `ended` is done when all has been answered after `drain`. `close` at any stage."""

    def __init__(
        self,
        app: Any,
        connection: type[asyncio.Protocol],
        *,
        drain_seconds: float,
    ) -> None:
        """connection: makes the protocol of each, which knows of idle clients and of TLS"""
        config = uvicorn.Config(
            app,
            http=connection,
            log_config=None,
            log_level="warning",  # our own lines say when it starts and ends
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # whose call it is decides who waits; a header could say anything
            timeout_graceful_shutdown=math.ceil(drain_seconds),
        )
        self._server = Uvicorn(config)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    def bind(self, host: str, port: int, what: str) -> int:
        """The port; raises StartError when it is busy."""
        self._socket = listen(host, port, what)
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        assert self._socket is not None
        self._task = asyncio.create_task(self._server.serve([self._socket]))

    @property
    def ended(self) -> asyncio.Task[None]:
        assert self._task is not None
        return self._task

    def drain(self) -> None:
        """Stops listening; what has begun is answered."""
        self._server.should_exit = True

    async def close(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._socket is not None:
            self._socket.close()
