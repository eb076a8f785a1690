"""The frame around an ASGI application that is not FastAPI."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from structlog.testing import capture_logs

from swin_gateway.calls import Calls
from swin_gateway.metrics import Metrics
from swin_gateway.rest_frame import RestFrame


def framed(app: Any, metrics: Metrics | None = None, *, leaving: bool = False) -> RestFrame:
    return RestFrame(app, Calls(metrics or Metrics(), asyncio.Event()), leaving=lambda: leaving)


async def test_a_bug_after_the_answer_began_is_logged_and_breaks_nothing_else() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise RuntimeError("half-way")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with capture_logs() as logs:
        await framed(app)({"type": "http", "path": "/", "headers": []}, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert logs[0]["event"] == "bug"


async def test_what_is_not_http_passes_through_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    await framed(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]


async def test_a_call_that_is_not_of_the_api_gets_an_id_and_is_not_counted() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    metrics = Metrics()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(framed(app, metrics))) as client:
        response = await client.get("http://gateway/x", headers={"x-request-id": "mine"})
    assert response.headers["x-request-id"] == "mine"
    assert not next(iter(metrics.requests.collect())).samples


async def test_while_leaving_every_answer_ends_its_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    for leaving in (True, False):
        frame = framed(app, leaving=leaving)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(frame)) as client:
            response = await client.get("http://gateway/x")
        assert (response.headers.get("connection") == "close") is leaving
