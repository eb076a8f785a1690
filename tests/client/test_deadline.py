"""A service that does not answer, or does so without end: told as what it is, in bounded time."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from swinserve import Client, DeadlineExceeded, Unavailable, http_connection
from swinserve.cli import main

from .conftest import CLIENTS
from .dropping import dripping, dropping

LONG = 30.0
"""Seconds, which no test here waits for."""


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest) -> Callable[..., Client]:
    return lambda url, **options: CLIENTS[request.param](url, retries=0, **options)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "CONNECT_SECONDS", 0.2)


def test_a_machine_that_drops_packets_is_unreachable_over_http(connect: Callable[..., Client], impatient: None) -> None:
    with dropping() as place, connect(f"http://{place}", timeout=LONG) as client:
        found = failure(client)
    assert (found.reason, found.message) == ("UNREACHABLE", f"cannot reach http://{place}: no connection in time")


def test_a_machine_that_drops_packets_is_unreachable_over_grpc() -> None:
    with dropping() as place, Client(f"grpc://{place}", timeout=8.0, retries=0) as client:
        found = failure(client)
    assert found.reason == "UNREACHABLE"
    assert f"cannot reach grpc://{place}" in found.message


def failure(client: Client) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        client.classify(b"a")
    return caught.value


def test_bulk_work_ends_at_a_machine_that_drops_packets(tmp_path: Path, impatient: None) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(b"x")
    with dropping() as place:
        command = ["classify", str(photo), str(photo), "--server", f"http://{place}", "--timeout", "0.25"]
        result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"swinserve: cannot reach http://{place}: no connection in time\n"


def test_an_answer_that_drips_is_given_up_at_the_deadline(connect: Callable[..., Client]) -> None:
    within = pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.\d+ s")
    with dripping(0.05) as place, connect(f"http://{place}", timeout=0.3) as client, within:
        client.models()
