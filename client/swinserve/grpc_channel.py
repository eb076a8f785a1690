"""A service -> what a gRPC channel to it needs: its target, its options, who we are."""

import ipaddress
import json

import grpc

from .service import Service
from .transport import Call

OPTIONS = (
    # How large a request may be is the service's to say; it answers TOO_LARGE where gRPC would only break off.
    ("grpc.max_send_message_length", -1),
    # gRPC's own 4 MiB is too little for many images with a thousand predictions each, or maps; without end is too much.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # gRPC's own: calls take turns over all addresses that are connected, and none over those that are not.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # A connection of each client's own: gRPC would let all that ask for the same share one, and its 100 streams.
    ("grpc.use_local_subchannel_pool", 1),
    # A machine that vanished says nothing; without asking, calls would wait for it until TCP gives up after minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC's own grows to two minutes: so long would a service that is back be called unreachable.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Also how long one attempt may take: with gRPC's own, calls to a machine that drops packets would end with their
    # deadline, and nobody would know that they never got there.
    ("grpc.min_reconnect_backoff_ms", 2_000),
)


def target(service: Service) -> str:
    """ValueError for several addresses of which one is a name, and for several over TLS: gRPC balances over IP
    addresses, but holds every certificate against one name; or over all that one name resolves to."""
    if len(service.addresses) == 1:
        return f"dns:///{service.addresses[0]}"
    versions = {_ip_version(address) for address in service.addresses}
    if service.tls or versions not in ({4}, {6}):
        raise ValueError(
            f"{service.url!r}: several addresses over gRPC are IP addresses of one kind, without TLS; one name alone "
            "stands for all the addresses that it resolves to, also with TLS"
        )
    return f"ipv{versions.pop()}:{','.join(service.addresses)}"


def credentials(service: Service) -> grpc.ChannelCredentials | None:
    """None without TLS. ValueError for files that cannot be used."""
    return grpc.ssl_channel_credentials(*service.certificates.pem()) if service.tls else None


def metadata(service: Service, call: Call) -> tuple[tuple[str, str], ...]:
    mine = (("x-request-id", call.request_id),)
    return mine if service.token is None else (*mine, ("authorization", f"Bearer {service.token}"))


def _ip_version(address: str) -> int:
    """0 for a name."""
    try:
        return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).version
    except ValueError:
        return 0
