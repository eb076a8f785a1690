"""/predictions and /ping as TorchServe's users know them, with a fake WorkerClient behind the classifier."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from .assembly import EMBEDDING, PNG, Gateway, gateway
from .samples import HEADLESS, archive_of

PREDICTIONS = "/predictions/digits"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", [PREDICTIONS, f"{PREDICTIONS}/1.0"])
async def test_an_image_becomes_labels_with_scores_whichever_way_it_is_sent(
    served: Gateway, method: str, path: str
) -> None:
    async with served.rest() as client:
        for body in ({"content": PNG}, {"files": {"data": PNG}}):
            response = await client.request(method, path, **body)
            assert (response.status_code, response.json()) == (200, {"two": 0.75, "zero": 0.25})
    counted = {"protocol": "rest", "method": "Predictions", "model": "digits", "version": "1.0", "outcome": "ok"}
    assert served.value("requests_total", **counted) == 2
    assert served.workers.jobs[0].top_k == 5


async def test_classes_of_one_name_stay_apart() -> None:
    served = gateway([archive_of(labels=("crane", "one", "crane"))])
    async with served.rest() as client:
        assert (await client.post(PREDICTIONS, content=PNG)).json() == {"crane (2)": 0.75, "crane (0)": 0.25}


async def test_a_model_without_classes_answers_with_its_embedding() -> None:
    served = gateway([archive_of(**HEADLESS)])
    async with served.rest() as client:
        numbers = (await client.post(PREDICTIONS, content=PNG)).json()
    assert struct.pack("<4f", *numbers) == struct.pack("<4f", *EMBEDDING)


@pytest.mark.parametrize(
    ("method", "path", "changes", "status", "kind"),
    [
        ("POST", "/predictions/none", {"content": PNG}, 404, "ModelNotFoundException"),
        ("POST", f"{PREDICTIONS}/2.0", {"content": PNG}, 404, "ModelVersionNotFoundException"),
        ("POST", f"{PREDICTIONS}/1.0/more", {"content": PNG}, 404, "ResourceNotFoundException"),
        ("GET", PREDICTIONS, {}, 405, "MethodNotAllowedException"),
        ("POST", PREDICTIONS, {"content": b"no image"}, 415, "UNSUPPORTED_TYPE"),
        ("POST", PREDICTIONS, {"content": b""}, 400, "BadRequestException"),
        ("POST", PREDICTIONS, {"files": [("data", PNG), ("data", PNG)]}, 400, "BadRequestException"),
        ("POST", PREDICTIONS, {"content": PNG, "params": {"top_k": 3}}, 400, "BadRequestException"),
        ("POST", PREDICTIONS, {"content": PNG, "headers": {"x-request-timeout": "?"}}, 400, "BadRequestException"),
    ],
)
async def test_failures_have_torchserves_shape(
    served: Gateway, method: str, path: str, changes: dict[str, Any], status: int, kind: str
) -> None:
    async with served.rest() as client:
        response = await client.request(method, path, **changes)
    assert response.status_code == status
    assert response.json() == {"code": status, "type": kind, "message": response.json()["message"]}
    assert response.headers["x-request-id"] in response.json()["message"]


async def test_a_ping_is_healthy_while_the_service_is_ready(served: Gateway) -> None:
    async with served.rest() as client:
        unready = await client.get("/ping")
        assert (unready.status_code, unready.json()) == (500, {"status": "Unhealthy"})
        await served.readiness.look()
        assert (await client.get("/ping")).json() == {"status": "Healthy"}
