from __future__ import annotations

import pytest

from swin_gateway import caller


@pytest.mark.parametrize(
    ("peer", "client", "expected"),
    [
        ("ipv4:10.1.2.3:51234", ("10.1.2.3", 40000), "10.1.2.3"),
        ("ipv6:%5B::1%5D:51234", ("::1", 40000), "::1"),
        ("ipv6:[2001:db8::7]:51234", ("2001:db8::7", 40000), "2001:db8::7"),
    ],
)
def test_one_host_is_one_caller_over_both_protocols(peer: str, client: tuple[str, int], expected: str) -> None:
    assert caller.of_grpc(peer) == caller.of_rest(client) == expected


def test_without_an_address_there_is_still_a_name() -> None:
    assert caller.of_grpc("unix:/run/one") == "/run/one"
    assert caller.of_rest(None) == ""
