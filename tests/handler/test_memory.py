"""The budget that decode threads share, and what the types of images really take of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from swin_handler import memory
from swin_handler.decode import Decoder
from swin_handler.encoded_file import EncodedFile
from swin_handler.errors import Expired, TooLarge
from swin_handler.limits import Limits
from swin_handler.memory import MemoryBudget
from tests.fuzz.seeds import webp_of_many_codes
from tests.handler import pictures
from tests.handler.test_decode import CONFIG


def test_who_finds_too_little_left_waits_for_the_others() -> None:
    budget, taken, go = MemoryBudget(10), threading.Event(), threading.Event()
    order: list[str] = []

    def large() -> None:
        with budget.take(8):
            taken.set()
            assert go.wait(30)
            order.append("large")

    def second() -> None:
        with budget.take(8):
            order.append("second")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(large)
        assert taken.wait(30)
        waiting = pool.submit(second)
        with budget.take(2):  # a small one does not wait
            order.append("small")
        go.set()
        first.result(30)
        waiting.result(30)
    assert order == ["small", "large", "second"]


def test_who_would_have_to_wait_longer_than_anybody_waits_for_it_gives_up() -> None:
    budget = MemoryBudget(10)
    with budget.take(6), ThreadPoolExecutor(1) as pool:

        def late() -> None:
            with budget.take(5, until=time.monotonic() + 0.1):
                raise AssertionError("there is no room")

        with pytest.raises(Expired):
            pool.submit(late).result(30)
    with budget.take(10, until=time.monotonic()):
        pass


def test_a_webp_whose_codes_would_take_more_than_there_is_is_refused() -> None:
    decoder = Decoder(CONFIG, max_pixels=2**21, limits=Limits(memory=MemoryBudget(64 * 2**20)))
    with pytest.raises(TooLarge, match="MiB to decode"):
        decoder(webp_of_many_codes(512))


def test_what_was_taken_is_given_back_when_it_fails() -> None:
    budget = MemoryBudget(10)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.take(10):
            raise ZeroDivisionError
    with budget.take(10):
        pass


def test_an_image_that_takes_more_than_all_of_it_is_refused_and_says_so() -> None:
    data = pictures.encoded(pictures.gradient(400, 400), "PNG")
    need = 12 * 400 * 400 + 8 * 71 * 71
    mb = 2**20
    decoder = Decoder(CONFIG, max_pixels=10**7, limits=Limits(memory=MemoryBudget(need)))
    assert decoder(data).pixels.shape == (64, 64, 3)
    tight = Decoder(CONFIG, max_pixels=10**7, limits=Limits(memory=MemoryBudget(need - 1)))
    with pytest.raises(TooLarge, match=f"takes {-(-need // mb)} MiB to decode, more than {(need - 1) // mb}"):
        tight(data)


def test_what_a_large_image_took_is_given_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc would keep it for the thread; threads that took turns would keep many times the budget."""
    trimmed: list[int] = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: trimmed.append)
    budget = MemoryBudget(2**30)
    with budget.take(2**20):
        pass
    assert trimmed == []
    with pytest.raises(ZeroDivisionError), budget.take(2**27):
        raise ZeroDivisionError
    assert trimmed == [0]


def needed(data: bytes, kind: str, *, stored: tuple[int, int]) -> int:
    file = EncodedFile(data, is_jpeg=kind == "JPEG", seconds=60)
    image = Image.open(file, formats=(kind,))
    return memory.needed(image, file, kind=kind, stored=stored, resized=(0, 0))


def test_a_jpeg_of_several_scans_takes_its_coefficients_as_well() -> None:
    size = (160, 120)
    picture, pixels = pictures.gradient(*size), 160 * 120
    baseline, progressive = (pictures.encoded(picture, "JPEG", progressive=each) for each in (False, True))
    cmyk = pictures.encoded(picture.convert("CMYK"), "JPEG", progressive=True)
    thumbnail = b"\xff\xe1" + (2 + len(progressive)).to_bytes(2, "big") + progressive  # as cameras put into EXIF
    assert needed(baseline, "JPEG", stored=size) == 12 * pixels
    assert needed(baseline[:2] + thumbnail + baseline[2:], "JPEG", stored=size) == 12 * pixels
    assert needed(progressive, "JPEG", stored=size) == (12 + 3 * 2) * pixels
    assert needed(cmyk, "JPEG", stored=size) == (12 + 4 * 2) * pixels


MEASURE = """
import sys, warnings
from pathlib import Path
from swin_handler.decode import Decoder
from swin_handler.limits import Limits
from swin_handler.memory import MemoryBudget
from tests.handler.test_decode import CONFIG
from tests.handler.test_memory import LARGE, SMALL

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

class Seen(MemoryBudget):
    def take(self, size, **options):
        self.taken = size
        return super().take(size, **options)

warnings.simplefilter("ignore")
decoders = {}
for scaled in (True, False):
    budget = Seen(2**40)
    decoder = Decoder(CONFIG, max_pixels=10**8, scaled=scaled, limits=Limits(memory=budget))
    for make in SMALL:
        decoder(make())  # what is loaded and kept at first use
    decoders[scaled] = decoder, budget
for name, make in LARGE.items():
    data = make()
    for scaled, (decoder, budget) in decoders.items():
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        decoder(data)
        print(name, scaled, peak() - before, budget.taken, sep="\\t")
"""
EDGE = 2400


def _large(mode: str, kind: str, **options: object) -> bytes:
    return pictures.encoded(Image.new(mode, (EDGE, EDGE), 77 if len(mode) == 1 else None), kind, **options)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


LARGE = {
    "RGB PNG": lambda: _large("RGB", "PNG", compress_level=1),
    "RGBA PNG": lambda: _large("RGBA", "PNG", compress_level=1),
    "16-bit PNG": lambda: _large("I;16", "PNG", compress_level=1),
    "1-bit PNG": lambda: _large("1", "PNG"),
    "turned PNG": lambda: _large("RGB", "PNG", compress_level=1, exif=_turned()),
    "JPEG": lambda: _large("RGB", "JPEG"),
    "progressive JPEG": lambda: _large("RGB", "JPEG", progressive=True),
    "progressive CMYK JPEG": lambda: _large("CMYK", "JPEG", progressive=True),
    "WebP": lambda: _large("RGB", "WEBP", method=0),
    "lossless RGBA WebP": lambda: _large("RGBA", "WEBP", lossless=True, method=0, quality=0),
    "WebP of many codes": lambda: webp_of_many_codes(512),
    "GIF": lambda: _large("L", "GIF"),
    "BMP": lambda: _large("RGB", "BMP"),
    "TIFF": lambda: _large("RGBA", "TIFF"),
    "turned LZW TIFF": lambda: _large("RGB", "TIFF", compression="tiff_lzw", exif=_turned()),
}
SMALL = [lambda kind=kind: pictures.encoded(pictures.gradient(), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
SLACK = 12 * 2**20
"""What the allocator and Python keep beside."""


@pytest.mark.slow
def test_no_type_takes_more_than_is_reckoned() -> None:
    """Whole images, as few are: whatever a reduction saves comes on top."""
    # Not under coverage, which takes memory as well.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    measured = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, env=environment)
    assert measured.returncode == 0, measured.stderr
    rows = [line.split("\t") for line in measured.stdout.splitlines()]
    assert len(rows) == 2 * len(LARGE)
    for name, scaled, grown, taken in rows:
        print(f"{name}, {'torch' if scaled == 'True' else 'timm'}: {int(grown):,} of {int(taken):,} bytes", end="; ")
    for name, _scaled, grown, taken in rows:
        assert int(grown) <= int(taken) + SLACK, name


def test_images_that_take_all_of_it_are_decoded_one_after_the_other() -> None:
    data = pictures.encoded(pictures.noise(500, 500), "PNG")
    budget = MemoryBudget(12 * 500 * 500 + 8 * 71 * 71)
    decoder = Decoder(CONFIG, max_pixels=10**7, limits=Limits(memory=budget))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(decoder, [data] * 8))
    assert all(answer.pixels.equal(answers[0].pixels) for answer in answers)
