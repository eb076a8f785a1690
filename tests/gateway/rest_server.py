"""uvicorn with our connections around a small application, and clients that write bytes to a socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import uvicorn

from swin_gateway.connection_limits import ConnectionLimits
from swin_gateway.rest_connection import protocol

from .assembly import until

PATIENT = ConnectionLimits(connections=100, header_bytes=2000, header_seconds=30, idle_seconds=30, stall_seconds=30)
LARGE = 30_000_000


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Application:
    """Reads the body, then answers with the path; /now answers at once, /large with much, /wait when `gate` opens."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        self.disconnected = 0
        self.schemes: set[str] = set()
        self.gate = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.seen.append(path)
        self.schemes.add(scope["scheme"])
        if path != "/now":
            body, more = b"", True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.disconnected += 1
                    return
                body, more = body + message["body"], message["more_body"]
            self.bodies.append(body)
        if path == "/wait":
            await self.gate.wait()
        answer = bytes(LARGE) if path == "/large" else path.encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@dataclass
class Running:
    app: Application
    closed: Counter[str]
    port: int
    server: Server

    async def connect(self, content: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(content)
        return reader, writer

    async def told(self, content: bytes) -> bytes:
        """All that is answered to `content` until the server closes."""
        reader, writer = await self.connect(content)
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def running(context: ssl.SSLContext | None = None, **changes: Any) -> AsyncIterator[Running]:
    app, closed = Application(), Counter[str]()
    http = protocol(replace(PATIENT, **changes), lambda cause: closed.update([cause]), context)
    config = uvicorn.Config(
        app, port=0, http=http, ws="none", lifespan="off", log_config=None, server_header=False, timeout_keep_alive=0
    )
    server = Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(app, closed, port, server)
    finally:
        app.gate.set()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        server.should_exit = True
        await task
