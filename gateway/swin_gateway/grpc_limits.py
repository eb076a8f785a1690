"""Settings -> the limits of gRPC's own server: connections, streams, metadata, pings, ages."""

from __future__ import annotations

from swin_gateway.settings import ServeSettings


def server_options(settings: ServeSettings, message_bytes: int) -> list[tuple[str, int]]:
    """Channel arguments; message_bytes: largest message taken"""
    return [
        ("grpc.max_receive_message_length", message_bytes),
        # An answer that would be too large is refused before it is computed; gRPC would refuse it after.
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else a second instance would silently share the port
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", settings.grpc_max_streams),
        # Between the two gRPC would refuse at random, the likelier the larger.
        ("grpc.max_metadata_size", settings.max_header_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
        ("grpc.server_handshake_timeout_ms", _ms(settings.header_timeout)),
        ("grpc.max_connection_idle_ms", _ms(settings.idle_timeout)),
        ("grpc.max_connection_age_ms", _ms(settings.grpc_max_age)),
        ("grpc.max_connection_age_grace_ms", _ms(settings.grpc_age_grace)),
        # Our own pings find out whether anybody still reads at the other end.
        ("grpc.keepalive_time_ms", _ms(settings.stall_timeout)),
        ("grpc.keepalive_timeout_ms", _ms(settings.stall_timeout)),
        # A client's: the third that comes too early ends the connection with ENHANCE_YOUR_CALM.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(settings.grpc_ping_interval)),
        ("grpc.http2.max_ping_strikes", 2),
    ]


def _ms(seconds: float) -> int:
    return max(1, int(1000 * seconds))
