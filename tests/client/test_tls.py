"""TLS, certificates of both sides and tokens, over both protocols with both clients."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from swinserve import Client, Unavailable
from swinserve.cli import main
from tests.gateway.certificates import Authority

from .conftest import CLIENTS, FAKES, Service
from .contract import Certificate

Files = dict[str, Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def files(folder: Path) -> Files:
    """What a caller needs, and what the servers are started with."""
    servers, callers = Authority(), Authority()
    server, caller = servers.issue(folder / "server"), callers.issue(folder / "caller")
    (folder / "servers").mkdir()
    (folder / "callers").mkdir()
    return {
        "ca": servers.write(folder / "servers"),
        "cert": caller.certificate,
        "key": caller.key,
        "server_cert": server.certificate,
        "server_key": server.key,
        "client_ca": callers.write(folder / "callers"),
    }


@pytest.fixture(scope="module", params=FAKES)
def guarded(request: pytest.FixtureRequest, files: Files) -> Iterator[Service]:
    seen: list = []
    certificate = Certificate(files["server_cert"], files["server_key"], files["client_ca"])
    with FAKES[request.param].serve(seen, certificate) as url:
        yield Service(url, seen)


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest) -> Callable[..., Client]:
    return lambda url, **options: CLIENTS[request.param](url, retries=0, **options)


def test_both_sides_show_who_they_are_and_the_token_goes_along(
    guarded: Service, files: Files, connect: Callable[..., Client]
) -> None:
    options = {"ca": str(files["ca"]), "cert": files["cert"], "key": files["key"]}
    with connect(guarded.url, token="hush", **options) as client:
        client.classify(b"a")
        client.models()
    assert [asked.authorization for asked in guarded.seen[-2:]] == ["Bearer hush"] * 2


@pytest.mark.parametrize("left_out", ["ca", "cert"])
def test_who_does_not_know_the_other_does_not_talk(
    guarded: Service, files: Files, connect: Callable[..., Client], left_out: str
) -> None:
    options = {"ca": files["ca"], "cert": files["cert"], "key": files["key"]}
    del options[left_out]
    options.pop("key" if left_out == "cert" else "", None)
    asked = len(guarded.seen)
    with connect(guarded.url, **options) as client, pytest.raises(Unavailable, match="cannot reach"):
        client.classify(b"a")
    assert len(guarded.seen) == asked


def test_without_a_token_none_is_sent(service: Service, connect: Callable[..., Client]) -> None:
    with connect(service.url) as client:
        client.classify(b"a")
    with connect(service.url, token="hush") as client:
        client.classify(b"a")
    assert [asked.authorization for asked in service.seen] == ["", "Bearer hush"]


def told(url: str, *options: object) -> str:
    result = CliRunner().invoke(main, ["served", "--server", url, *map(str, options)])
    assert result.exit_code == 3
    return result.stderr


def test_who_speaks_another_protocol_than_the_service_is_asked_about_tls(guarded: Service, files: Files) -> None:
    assert "does it speak TLS" in told(guarded.url.replace("s://", "://"))


def test_a_service_without_tls_is_told_as_such(service: Service, files: Files) -> None:
    assert "does it speak TLS" in told(service.url.replace("://", "s://"), "--ca", files["ca"])


def test_a_certificate_that_is_not_trusted_is_no_service_to_start(guarded: Service, files: Files) -> None:
    text = told(guarded.url, "--ca", files["client_ca"]).lower().replace("_", " ")
    assert "certificate verify failed" in text
    assert "swinserve serve" not in text
    assert "does it" not in text
