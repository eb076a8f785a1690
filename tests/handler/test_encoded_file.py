"""Small files that would take long to decode: what interrupts each of them, and that it does."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable

import pytest

from swin_handler import encoded_file
from swin_handler.config import FORMATS
from swin_handler.decode import Decoder
from swin_handler.encoded_file import MAX_SCANS, EncodedFile
from swin_handler.errors import TooLarge
from swin_handler.limits import Limits
from tests.fuzz.seeds import many_scans, rle_bmp
from tests.handler import pictures
from tests.handler.test_decode import CONFIG

PROGRESSIVE = pictures.encoded(pictures.gradient(1200, 900).convert("L"), "JPEG", progressive=True)


def decoder(seconds: float) -> Decoder:
    return Decoder(CONFIG, max_pixels=50_000_000, limits=Limits(seconds=seconds))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_whose_time_is_over_is_given_up(kind: str) -> None:
    data = pictures.encoded(pictures.gradient(), kind)
    assert decoder(60)(data).pixels.shape == (64, 64, 3)
    with pytest.raises(TooLarge, match="more than 0 s to decode; send it smaller"):
        decoder(0)(data)


def empty_chunks() -> bytes:
    """A PNG whose pixels are in 300,000 chunks of nothing."""
    png = pictures.encoded(pictures.gradient(), "PNG")
    at = png.index(b"IDAT") - 4
    return png[:at] + (b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))) * 300_000 + png[at:]


def comments() -> bytes:
    """A JPEG of 150,000 empty comments before its pixels."""
    jpeg = pictures.jpeg()
    return jpeg[:2] + b"\xff\xfe\0\2" * 150_000 + jpeg[2:]


def exif_in_pieces() -> bytes:
    """A JPEG of 10,000 pieces of EXIF, which Pillow joins one by one."""
    jpeg = pictures.jpeg()
    return jpeg[:2] + (b"\xff\xe1\0\x1cExif\0\0" + bytes(20)) * 10_000 + jpeg[2:]


def gif_comments() -> bytes:
    """A GIF with a comment of 200,000 single bytes."""
    gif = pictures.encoded(pictures.gradient(), "GIF")
    at = gif.index(b",", 13 + 3 * 2 ** (1 + (gif[10] & 7)))
    return gif[:at] + b"!\xfe" + b"\1x" * 200_000 + b"\0" + gif[at:]


SLOW: dict[str, Callable[[], bytes]] = {
    "PNG of noise": lambda: pictures.encoded(pictures.noise(2000, 2000), "PNG", compress_level=1),
    "PNG of empty chunks": empty_chunks,
    "JPEG of 90 scans": lambda: many_scans(PROGRESSIVE, MAX_SCANS - 20),
    "JPEG of empty comments": comments,
    "JPEG of EXIF in pieces": exif_in_pieces,
    "GIF of comments": gif_comments,
    "BMP in runs": lambda: rle_bmp(250, 60_000),
}


@pytest.mark.parametrize("name", SLOW)
def test_it_is_given_up_between_two_blocks_long_before_its_end(name: str) -> None:
    """Of CPU time: how busy the machine is does not matter."""
    data = SLOW[name]()
    began = time.thread_time()
    decoder(1000)(data)
    whole = time.thread_time() - began
    spent = []
    for _ in range(3):
        began = time.thread_time()
        with pytest.raises(TooLarge, match="to decode"):
            decoder(whole / 10)(data)
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.6 * whole


def test_a_jpeg_of_more_scans_than_any_needs_is_refused() -> None:
    scans = PROGRESSIVE.count(b"\xff\xda")
    assert decoder(60)(many_scans(PROGRESSIVE, MAX_SCANS - scans + 1)).pixels.shape == (64, 64, 3)
    with pytest.raises(TooLarge, match="more than 100 scans"):
        decoder(60)(many_scans(PROGRESSIVE, MAX_SCANS - scans + 2))


def test_a_thousand_scans_in_one_block_are_refused_after_a_hundred_at_most() -> None:
    few, many = many_scans(PROGRESSIVE, 50), many_scans(PROGRESSIVE, 5000)
    began = time.thread_time()
    decoder(1000)(few)
    of_few = time.thread_time() - began
    began = time.thread_time()
    with pytest.raises(TooLarge, match="scans"):
        decoder(1000)(many)
    assert time.thread_time() - began < 10 * of_few


def test_what_follows_a_jpeg_is_no_scan_of_it() -> None:
    """Phones put a film behind the picture."""
    film = b"\xff\xda random bytes of a film " * 200_000
    assert decoder(60)(pictures.jpeg() + film).pixels.shape == (64, 64, 3)


def test_an_image_in_too_many_pieces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_file, "MAX_READS", 1000)
    for data in (empty_chunks(), comments(), gif_comments()):
        with pytest.raises(TooLarge, match="too many pieces"):
            decoder(1000)(data)
    assert decoder(60)(pictures.jpeg()).pixels.shape == (64, 64, 3)


def test_it_reads_as_any_file_does() -> None:
    file = EncodedFile(b"abcdef", seconds=60)
    assert (file.read(2), file.read(0), file.reached) == (b"ab", b"", 2)
    assert file.read() == b"cdef"
    file.seek(1)
    assert (file.read(1), file.reached, file.getvalue()) == (b"b", 6, b"abcdef")
