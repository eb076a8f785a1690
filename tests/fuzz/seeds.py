"""Small images of every type and oddity, from which the fuzzers start; and ways to damage them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.handler.pictures import encoded, gradient, png_header


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Of a copy: Pillow leaves on an image what it was last saved with."""
    return encoded(image.copy(), kind, **options)


def _animated(first: Image.Image, kind: str) -> bytes:
    frames = [Image.new("RGB", first.size, colour) for colour in ("blue", "lime")]
    return _encoded(first, kind, save_all=True, append_images=frames)


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def images() -> dict[str, bytes]:
    """name -> an image that is decoded"""
    small, grey16 = gradient(17, 11), Image.fromarray(np.arange(60, dtype=np.uint16).reshape(6, 10) * 999)
    alpha = small.copy()
    alpha.putalpha(gradient(17, 11).convert("L"))
    return {
        "jpeg": _encoded(small, "JPEG"),
        "progressive jpeg": _encoded(small, "JPEG", progressive=True),
        "turned jpeg": _encoded(small, "JPEG", exif=_exif(6)),
        "cmyk jpeg": _encoded(small.convert("CMYK"), "JPEG"),
        "mpo": _animated(small, "MPO"),
        "png": _encoded(small, "PNG"),
        "turned png": _encoded(small, "PNG", exif=_exif(8)),
        "16-bit png": _encoded(grey16, "PNG"),
        "alpha png": _encoded(alpha, "PNG"),
        "palette png": _encoded(small.quantize(8), "PNG", transparency=1),
        "animated png": _animated(small, "PNG"),
        "webp": _encoded(small, "WEBP"),
        "lossless webp": _encoded(alpha, "WEBP", lossless=True),
        "animated webp": _animated(small, "WEBP"),
        "webp of many codes": webp_of_many_codes(16),
        "gif": _encoded(small, "GIF"),
        "animated gif": _animated(small, "GIF"),
        "bmp": _encoded(small, "BMP"),
        "rle bmp": rle_bmp(),
        "tiff": _encoded(small, "TIFF"),
        "lzw tiff": _encoded(small, "TIFF", compression="tiff_lzw"),
        "jpeg tiff": _encoded(small, "TIFF", compression="jpeg"),
        "tiled tiff": tiled_tiff(10, 16),
        "many-paged tiff": _animated(small, "TIFF"),
        "16-bit tiff": _encoded(grey16, "TIFF"),
    }


def hostile() -> dict[str, bytes]:
    """name -> a file that is to be refused, and why it might not be"""
    good = images()
    return {
        "nothing": b"",
        "text": b"no image, a poem\n" * 3,
        "lying png": png_header(1000, 1000, zlib.compress(bytes(50))),
        "png of 4 gigapixels": png_header(2**16, 2**16),
        "png of a negative length": good["png"][:33] + b"\xff\xff\xff\xfftEXt" + good["png"][33:],
        "jpeg of two frames": _second_frame(good["jpeg"]),
        "jpeg of 200 scans": many_scans(good["progressive jpeg"], 200),
        "tiff of a million strips": _strips(good["tiff"], 2**20),
        "tiff of a large tile": tiled_tiff(10, 1024),
        "tiff that is its own next page": _ring(good["tiff"]),
        "webp of a large canvas": good["animated webp"][:24] + b"\xff\x3f\x00\xff\x3f\x00" + good["animated webp"][30:],
        "gif of a large frame": good["gif"][:6] + struct.pack("<HH", 65535, 65535) + good["gif"][10:],
    }


def many_scans(progressive: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan over and over, which libjpeg goes through each time."""
    at = progressive.rindex(b"\xff\xda")
    return progressive[:at] + progressive[at:-2] * count + progressive[-2:]


def webp_of_many_codes(edge: int) -> bytes:
    """A lossless WebP with five Huffman codes for each 4×4 pixels, of 20 bits as a file, of 6 KiB as tables.

    edge: of the picture; 1024 for all the groups of codes that there can be
    """
    tiles = (edge // 4) ** 2
    # Bits as they lie in the file, lowest first; as specified in RFC 9649, 3.4 to 3.7.
    header = f"{0x2F:08b}"[::-1] + f"{edge - 1:014b}"[::-1] * 2 + "0000"
    all_of_8_bits = "0" + "0001" + "000" * 2 + "100" + "000" * 8 + "100" + "0" + "1" * 256
    one_of_no_bits = "1000"
    numbers = "".join(f"{tile & 255:08b}{tile >> 8:08b}" for tile in range(tiles))  # green and red: the group of a tile
    groups = "0" + all_of_8_bits + "0" * 24 + all_of_8_bits + one_of_no_bits * 3 + numbers
    bits = header + "001" + "000" + groups + one_of_no_bits * 5 * tiles
    body = int(bits[::-1], 2).to_bytes(len(bits) // 16 * 2 + 2, "little")
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def tiled_tiff(edge: int, tile: int) -> bytes:
    """Black, compressed a thousandfold, in tiles that may be far larger than the image."""
    row = bytes(3 * tile)
    compressor = zlib.compressobj(9)
    data = b"".join(compressor.compress(row) for _ in range(tile)) + compressor.flush()
    bits = 8 + len(data) + len(data) % 2  # where the bits of each channel are
    tags = [(256, 1, edge), (257, 1, edge), (258, 3, bits), (259, 1, 8), (262, 1, 2), (277, 1, 3)]
    tags += [(322, 1, tile), (323, 1, tile), (324, 1, 8), (325, 1, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, 4 if tag > 323 else 3, count, value) for tag, count, value in tags)
    header = struct.pack("<2sHI", b"II", 42, bits + 6) + data.ljust(bits - 8, b"\0") + struct.pack("<HHH", 8, 8, 8)
    return header + struct.pack("<H", len(tags)) + directory + bytes(4)


def rle_bmp(width: int = 9, height: int = 5) -> bytes:
    """A palette image in runs of one row each; Pillow writes none."""
    palette = b"".join(struct.pack("<BBBB", value, 255 - value, 7, 0) for value in range(256))
    runs = b"".join(bytes((width, row % 256)) + b"\0\0" for row in range(height)) + b"\0\1"
    offset = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", offset + len(runs), 0, 0, offset) + header + palette + runs


def _second_frame(jpeg: bytes) -> bytes:
    """Its frame header twice, the second of another size: Pillow believes the last, the gateway the first."""
    at = jpeg.index(b"\xff\xc0")
    end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    frame = jpeg[at:end]
    return jpeg[:end] + frame[:5] + struct.pack(">HH", 20_000, 20_000) + frame[9:] + jpeg[end:]


def _strips(tiff: bytes, count: int) -> bytes:
    """Its directory says that it has so many strips, which Pillow would list one by one."""
    return in_directory(tiff, 273, lambda entry: entry[:4] + struct.pack("<I", count) + entry[8:])


def _ring(tiff: bytes) -> bytes:
    (at,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, at)
    end = at + 2 + 12 * entries
    return tiff[:end] + struct.pack("<I", at) + tiff[end + 4 :]


def in_directory(tiff: bytes, tag: int, change: Callable[[bytes], bytes]) -> bytes:
    (at,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", tiff, entry) == (tag,):
            return tiff[:entry] + change(tiff[entry : entry + 12]) + tiff[entry + 12 :]
    raise AssertionError(tag)


def _damaged(content: bytes, seed: int) -> bytes:
    random = Random(seed)
    data = bytearray(content)
    for _ in range(random.randint(1, 8)):
        if not data:
            break
        at = random.randrange(len(data))
        match random.randrange(5):
            case 0:
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at] = random.choice((0, 1, 127, 128, 255))
            case 2:
                del data[at : at + random.randint(1, 20)]
            case 3:
                data[at:at] = data[at : at + random.randint(1, 40)]
            case _:
                data[at:at] = random.randbytes(random.randint(1, 8))
    return bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.2 else data)


def damaged() -> st.SearchStrategy[bytes]:
    """Images of all types with some bytes flipped, left out, put in, or cut off; and hostile and random ones."""
    good, bad = list(images().values()), list(hostile().values())
    mutated = st.builds(_damaged, st.sampled_from(good + bad), st.integers(0, 2**32))
    return st.one_of(mutated, mutated, mutated, st.sampled_from(bad), st.binary(max_size=200))
