"""TLS, certificates of both sides and tokens, over both protocols with both clients."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swinserve import Client, Unavailable
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
