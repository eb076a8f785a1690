"""What counts as taking an answer."""

from __future__ import annotations

import pytest

from swin_gateway.unsent_bytes import LEAST_BYTES, UnsentBytes

STALL = 30.0
MUCH = 30_000_000


def stalls(sizes: list[int]) -> int | None:
    """After how many seconds, of sizes a second apart."""
    unsent = UnsentBytes(STALL)
    return next((second for second, size in enumerate(sizes) if unsent._stall(size, float(second))), None)


@pytest.mark.parametrize(
    ("sizes", "second"),
    [
        ([0] * 100, None),
        ([MUCH] * 100, 31),
        ([MUCH - second for second in range(100)], 31),
        ([1000 - second for second in range(100)], 31),
        ([MUCH - second * LEAST_BYTES // 20 for second in range(100)], None),
        ([MUCH - second * LEAST_BYTES // 40 for second in range(100)], 31),
        ([1000, 1000, 0] * 30, None),
        ([second * 100 for second in range(100)], 32),
    ],
    ids=["nothing to take", "nothing", "a byte a second", "of little", "enough", "half of it", "all", "it only grows"],
)
def test_a_client_stalls_that_takes_neither_all_nor_the_least_in_its_time(sizes: list[int], second: int | None) -> None:
    assert stalls(sizes) == second
