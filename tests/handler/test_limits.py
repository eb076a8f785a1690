from __future__ import annotations

from swin_handler.config import HandlerConfig
from swin_handler.limits import Limits


def test_the_limits_are_those_of_the_configuration() -> None:
    config = HandlerConfig.parse(
        {"formats": ["PNG", "GIF"], "max_frames": 7, "decode_seconds": 2.5, "decode_memory_mb": 64}
    )
    limits = Limits.of(config, batch_size=8, batch_seconds=60)
    assert (limits.formats, limits.max_frames, limits.seconds) == (("PNG", "GIF"), 7, 2.5)
    assert limits.memory.total == 64 * 2**20


def test_a_batch_of_the_slowest_images_ends_before_torchserve_ends_the_worker() -> None:
    for batch_size in (1, 8, 32, 1024):
        limits = Limits.of(HandlerConfig(), batch_size=batch_size, batch_seconds=60)
        assert batch_size * limits.seconds <= 45


def test_the_configuration_survives_its_yaml() -> None:
    config = HandlerConfig(formats=("BMP",), batch_buckets=(1, 3))
    assert HandlerConfig.parse(config.as_yaml()) == config
    assert config.as_yaml()["formats"] == ["BMP"]
