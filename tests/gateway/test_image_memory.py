from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from swin_gateway.image_memory import KEPT, KEPT_BYTES, SHARED_FROM, ImageMemory

IMAGE = os.urandom(SHARED_FROM)


@pytest.fixture
def memory() -> Iterator[ImageMemory]:
    memory = ImageMemory()
    yield memory
    memory.close()


def descriptors() -> int:
    """Of shared memory alone: sockets of other tests may be closed at any time."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(each.readlink()))
    return sum(link.startswith("/memfd:") for link in links)


async def test_another_process_reads_what_was_put_there(memory: ImageMemory) -> None:
    for image in (IMAGE, IMAGE[::-1] + b"longer", IMAGE):
        with memory.holding(image) as shared:
            assert shared is not None
            path = f"/proc/{os.getpid()}/fd/{shared.descriptor}"
            code = f"import sys; sys.stdout.buffer.write(open({path!r}, 'rb').read({shared.size}))"
            reader = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
            assert (await reader.communicate())[0] == image


async def test_small_images_are_not_worth_it(memory: ImageMemory) -> None:
    with memory.holding(IMAGE[:-1]) as shared:
        assert shared is None


async def test_memory_is_used_again_and_large_pieces_are_given_back(memory: ImageMemory) -> None:
    with memory.holding(IMAGE) as first:
        pass
    with memory.holding(IMAGE) as second, memory.holding(IMAGE) as third:
        assert first == second != third
    before = descriptors()
    with memory.holding(bytes(KEPT_BYTES + 1)):
        pass
    assert descriptors() == before - 1  # it had taken one that was kept
    held = [memory.holding(IMAGE) for _ in range(KEPT + 3)]
    for each in held:
        each.__enter__()
    for each in held:
        each.__exit__(None, None, None)
    assert len(memory._idle) == KEPT


@pytest.mark.parametrize("failing", ["memfd_create", "pwrite"])
async def test_where_it_cannot_be_had_images_are_sent(
    memory: ImageMemory, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(23, "Too many open files in system")

    monkeypatch.setattr(os, failing, none_left)
    before = descriptors()
    with memory.holding(IMAGE), memory.holding(IMAGE), capture_logs() as logs, memory.holding(IMAGE) as shared:
        assert shared is None
    assert "Too many open files" in logs[0]["reason"]
    memory.close()
    assert descriptors() == before
