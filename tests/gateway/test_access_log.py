from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from swin_gateway import access_log
from swin_gateway.access_log import AccessLog

from .assembly import PNG, Gateway, until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(access_log, "time", SimpleNamespace(monotonic=lambda: now[0]))  # the event loop keeps its own
    return now


async def test_under_load_each_outcome_has_its_lines_and_how_many_had_none_is_told(clock: list[float]) -> None:
    calls = AccessLog(3)
    with capture_logs() as logs:
        for number in range(100):
            calls.write("ok", logging.INFO, lambda number=number: {"request_id": str(number)})
        calls.write("overloaded", logging.INFO, lambda: {"request_id": "shed"})
        clock[0] += 1
        calls.write("ok", logging.INFO, lambda: {"request_id": "later"})
        await until(lambda: len(logs) == 6)
    assert [entry["request_id"] for entry in logs[:5]] == ["0", "1", "2", "shed", "later"]
    assert logs[5] == {"event": "calls without a line", "log_level": "info", "outcome": "ok", "left_out": 97}


def test_it_can_be_turned_off(clock: list[float]) -> None:
    with capture_logs() as logs:
        AccessLog(0).write("ok", logging.INFO, dict)
    assert logs == []


async def test_a_line_tells_what_was_asked_what_came_of_it_and_where_the_time_went(served: Gateway) -> None:
    async with served.rest() as client:
        with capture_logs() as logs:
            await client.post("/v1/classify", content=PNG, headers={"x-request-id": "mine"})
            await client.post("/v1/classify", content=b"no image", headers={"x-request-id": "bad"})
            await client.get("/livez")
            await client.get("/nowhere")
    good, bad, nowhere = logs
    assert (
        good.items()
        >= {
            "event": "call",
            "log_level": "info",
            "outcome": "ok",
            "protocol": "rest",
            "method": "Classify",
            "model": "digits",
            "request_id": "mine",
            "images": 1,
            "decode_seconds": 0.001,
            "inference_seconds": 0.002,
        }.items()
    )
    assert 0 <= good["queue_seconds"] <= good["seconds"]
    assert 0 <= good["batch_wait_seconds"] <= good["seconds"]
    assert (bad["outcome"], bad["log_level"], bad["request_id"]) == ("unsupported_type", "info", "bad")
    assert bad["message"]
    assert (nowhere["outcome"], nowhere["message"]) == ("not_found", "no such path; /docs shows what there is")


async def test_what_the_service_owes_is_a_warning(served: Gateway) -> None:
    served.classifier.closing.set()
    async with served.rest() as client:
        with capture_logs() as logs:
            await client.post("/v1/classify", content=PNG)
    assert [(entry["outcome"], entry["log_level"]) for entry in logs] == [("draining", "warning")]
