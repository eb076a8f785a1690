"""A URL and what goes with it -> where a service is."""

from pathlib import Path

import pytest

from swinserve import AsyncClient, Client
from swinserve.grpc_channel import target
from swinserve.service import service


@pytest.mark.parametrize(
    ("url", "roots"),
    [
        ("grpc://host", ("grpc://host:8001",)),
        ("grpc://host:/", ("grpc://host:8001",)),
        ("grpcs://[::1]:9", ("grpcs://[::1]:9",)),
        ("http://host", ("http://host",)),
        ("https://a:1,b/under/", ("https://a:1/under", "https://b/under")),
    ],
)
def test_each_address_has_its_root(url: str, roots: tuple[str, ...]) -> None:
    assert service(url).roots == roots


def test_the_token_is_in_no_repr() -> None:
    assert "hush" not in repr(service("http://host", token="hush"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("grpc://10.0.0.1,10.0.0.2:9", "ipv4:10.0.0.1:8001,10.0.0.2:9"),
        ("grpc://[::1]:1,[::2]:2", "ipv6:[::1]:1,[::2]:2"),
        ("grpcs://classifier.default.svc", "dns:///classifier.default.svc:8001"),
    ],
)
def test_grpc_itself_balances_over_addresses_and_over_all_that_a_name_resolves_to(url: str, expected: str) -> None:
    assert target(service(url)) == expected


@pytest.mark.parametrize(
    "url", ["grpc://a,b", "grpc://10.0.0.1,name", "grpc://10.0.0.1,[::1]:1", "grpcs://10.0.0.1,10.0.0.2"]
)
def test_what_grpc_cannot_balance_over_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match="one name alone"):
        Client(url)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("url", "options", "why"),
    [
        ("grpc://host", {"ca": "ca.pem"}, "did you mean grpcs://"),
        ("http://host", {"cert": "a", "key": "b"}, "did you mean https://"),
        ("https://host", {"cert": "a"}, "needs its key"),
        ("grpcs://host", {"ca": "missing.pem"}, r"missing\.pem: No such file"),
        ("https://host", {"ca": __file__}, r"no TLS with .*test_service\.py"),
        ("http://host", {"token": "two words"}, "printable ASCII"),
        ("http://host", {"token": "a\nb"}, "printable ASCII"),
        ("http://host", {"token": ""}, "printable ASCII"),
    ],
)
def test_what_no_connection_can_be_made_of_is_a_value_error(
    kind: type, url: str, options: dict[str, str | Path], why: str
) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        kind(url, **options)
    assert options.get("token") in (None, "") or str(options["token"]) not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url",
    ["http://me:hush@host", "me:hush@host", "grpc://me:hu/sh@host", "https://host?token=hush", "ftp://me:hush@host"],
)
def test_a_secret_in_a_url_is_in_no_message(kind: type, url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        kind(url)
    assert "hush" not in str(caught.value)
    assert "sh@" not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_fewer_retries_than_none_are_a_value_error(kind: type) -> None:
    with pytest.raises(ValueError, match="retries is 0 or more, not -1"):
        kind("http://host", retries=-1)
