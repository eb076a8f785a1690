"""Images at the pixel limit that are small as files, all at once: the worker's memory stays within its budget."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.e2e.running import Running, service, until
from tests.e2e.test_fuzz import peak_mib
from tests.fuzz.seeds import webp_of_many_codes

WIDTH, HEIGHT = 7_000, 7_142  # 49,994,000 pixels
BUDGET_MIB = 1280  # --decode-memory-mb, by default
FORMATS = "JPEG,PNG,WEBP,GIF,TIFF"
BESIDE_MIB = 400
"""Of the worker beside the images being decoded: requests, batches, and what the allocator keeps."""


def png(bits: int, colour_type: int, bytes_a_row: int) -> bytes:
    """All zeros; compressed a thousandfold."""
    compressor = zlib.compressobj(1)
    row = bytes(1 + bytes_a_row)
    data = b"".join(compressor.compress(row) for _ in range(HEIGHT)) + compressor.flush()
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def saved(mode: str, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (WIDTH, HEIGHT)).save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


BOMBS: dict[str, Callable[[], bytes]] = {
    "1-bit PNG": lambda: png(1, 0, (WIDTH + 7) // 8),
    "RGBA PNG": lambda: png(8, 6, 4 * WIDTH),
    "16-bit RGBA PNG": lambda: png(16, 6, 8 * WIDTH),
    "16-bit grey PNG": lambda: png(16, 0, 2 * WIDTH),
    "progressive JPEG": lambda: saved("RGB", "JPEG", progressive=True),
    "progressive CMYK JPEG": lambda: saved("CMYK", "JPEG", progressive=True),
    "turned JPEG": lambda: saved("RGB", "JPEG", exif=turned()),
    "WebP": lambda: saved("RGB", "WEBP", method=0),
    "WebP of 65,536 groups of codes": lambda: webp_of_many_codes(1024),
    "GIF": lambda: saved("L", "GIF"),
    "LZW TIFF": lambda: saved("RGB", "TIFF", compression="tiff_lzw"),
    "lossless WebP": lambda: saved("RGBA", "WEBP", lossless=True, method=0, quality=0),
}


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return {name: make() for name, make in BOMBS.items()}


@pytest.fixture(scope="module")
def bombed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with service(
        tmp_path_factory.mktemp("bombed"), "swin_digits", "--model-store", store, "--formats", FORMATS
    ) as running:
        yield running


@pytest.mark.slow
def test_a_worker_s_memory_keeps_within_its_budget_whatever_comes_at_once(
    bombed: Running, bombs: dict[str, bytes], digit: Path
) -> None:
    worker = bombed.worker()
    fresh = peak_mib(worker.pid)
    for name, content in bombs.items():
        [status], peak = at_once_and_peak(bombed, [content])
        print(f"\n{name}: {len(content):,} bytes, {status}, peak {fresh} + {peak - fresh} MiB", end="")
        assert status == 200
    statuses, peak = at_once_and_peak(bombed, [*bombs.values()] * 2)
    print(f"\nall twice at once: {statuses}, peak {fresh} + {peak - fresh} MiB")
    assert peak - fresh < BUDGET_MIB + BESIDE_MIB
    assert set(statuses) == {200}
    assert bombed.worker().pid == worker.pid
    assert httpx.post(f"{bombed.http}/v1/classify", content=digit.read_bytes()).status_code == 200
    until(bombed.ready, 5)  # bombs that take ten seconds together are no sign of life; the digit's answer is


def at_once_and_peak(running: Running, images: list[bytes]) -> tuple[list[int], int]:
    """Statuses, and the most memory that the worker has had meanwhile, in MiB."""
    worker = running.worker().pid
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak counts from here
    return at_once(running, images), peak_mib(worker)


def at_once(running: Running, images: list[bytes]) -> list[int]:
    statuses = [0] * len(images)

    def send(place: int) -> None:
        options = {"timeout": 120, "headers": {"x-request-timeout": "110"}}
        statuses[place] = httpx.post(f"{running.http}/v1/classify", content=images[place], **options).status_code

    threads = [threading.Thread(target=send, args=(place,)) for place in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses
