"""Tensors of the Open Inference Protocol: those that are taken -> encoded images; those that answer -> bytes or lists.

Knows neither REST nor gRPC; both write a tensor's bytes alike.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from swin_gateway import raw_pixels
from swin_gateway.archive import Manifest
from swin_gateway.errors import InvalidRequest, TooLarge

ANY = -1
"""A dimension of any size."""
REPEATED = 100
"""Characters of a request that an error repeats."""
LENGTH = struct.Struct("<I")
"""In front of each element of BYTES."""
NUMBERS = {"FP32": "f", "INT64": "q"}
"""Datatype -> its letter in `struct`; little-endian."""


@dataclass(frozen=True, slots=True)
class TensorKind:
    """What the metadata tells of a tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]


IMAGE = TensorKind("image", "BYTES", (ANY,))
PIXELS = TensorKind("pixels", "UINT8", (ANY, ANY, ANY, raw_pixels.CHANNELS))
INPUTS = (IMAGE, PIXELS)
"""Either of them."""

SCORES = TensorKind("scores", "FP32", (ANY, ANY))
INDICES = TensorKind("indices", "INT64", (ANY, ANY))
LABELS = TensorKind("labels", "BYTES", (ANY, ANY))
EMBEDDING = "embedding"


def outputs_of(model: Manifest) -> list[TensorKind]:
    """What `model` can answer: of each image its best classes in three tensors, its embedding in one."""
    classes = [SCORES, INDICES, LABELS] if model.num_classes else []
    embedding = [TensorKind(EMBEDDING, "FP32", (ANY, model.embedding_size))] if model.embedding_size else []
    return classes + embedding


@dataclass(frozen=True, slots=True)
class InputTensor:
    name: str
    datatype: str
    shape: Sequence[int]
    content: bytes | list[bytes]
    """The tensor's bytes; or the elements of BYTES where they came one by one."""


@dataclass(frozen=True, slots=True)
class OutputTensor:
    name: str
    datatype: str
    shape: Sequence[int]
    values: Sequence[Any]
    """Numbers, or bytes; the last dimension fastest."""

    def raw(self) -> bytes:
        if self.datatype == "BYTES":
            return b"".join(part for value in self.values for part in (LENGTH.pack(len(value)), value))
        return struct.pack(f"<{len(self.values)}{NUMBERS[self.datatype]}", *self.values)

    def listed(self) -> list[float | int | str]:
        return [value.decode() if isinstance(value, bytes) else value for value in self.values]


def images(tensor: InputTensor, most: int, most_bytes: int) -> list[bytes]:
    """The encoded images in it; those of raw pixels are encoded here, 2 ms for a megabyte.

    Raises:
        InvalidRequest: it is no tensor that is taken, or its content does not fit its shape.
        TooLarge: there are more than `most`, or each image's pixels are more than `most_bytes`.
    """
    kind = next((kind for kind in INPUTS if kind.name == tensor.name), None)
    if kind is None:
        raise InvalidRequest(f"no input {clipped(tensor.name)} here; send {_described(INPUTS)}")
    if tensor.datatype != kind.datatype:
        raise InvalidRequest(f"{kind.name} is {kind.datatype} here, not {clipped(tensor.datatype)}")
    if kind is IMAGE:
        return _encoded(tensor, most)
    return _from_pixels(tensor, most, most_bytes)


def clipped(text: str) -> str:
    return repr(text if len(text) <= REPEATED else f"{text[:REPEATED]}…")


def _described(kinds: Iterable[TensorKind]) -> str:
    return " or ".join(f"{kind.name} ({kind.datatype} {list(kind.shape)})" for kind in kinds)


def _encoded(tensor: InputTensor, most: int) -> list[bytes]:
    shape, content = tensor.shape, tensor.content
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise InvalidRequest("the shape of image must be [N] or [N, 1]: an encoded image is one element")
    _check_count(shape[0], most)
    elements = content if isinstance(content, list) else _elements(content, shape[0])
    if len(elements) != shape[0]:
        raise InvalidRequest(f"image has {len(elements)} elements, but its shape says {shape[0]}")
    return elements


def _elements(content: bytes, count: int) -> list[bytes]:
    """Of BYTES, `count` of them."""
    elements: list[bytes] = []
    at = 0
    for _ in range(count):
        start = at + LENGTH.size
        if start > len(content):
            raise InvalidRequest(f"image ends after {len(elements)} elements, but its shape says {count}")
        at = start + LENGTH.unpack_from(content, at)[0]
        if at > len(content):
            raise InvalidRequest(f"element {len(elements)} of image is longer than what is left of the content")
        elements.append(content[start:at])
    if at != len(content):
        raise InvalidRequest(f"image has {len(content) - at} bytes behind the {count} elements that its shape says")
    return elements


def _from_pixels(tensor: InputTensor, most: int, most_bytes: int) -> list[bytes]:
    shape, content = tensor.shape, tensor.content
    if len(shape) != 4 or shape[3] != raw_pixels.CHANNELS or min(shape[1:]) < 1:
        raise InvalidRequest("the shape of pixels must be [N, height, width, 3]: 8-bit RGB, channels last")
    count, height, width, _ = shape
    _check_count(count, most)
    if not isinstance(content, bytes) or math.prod(shape) != len(content):
        raise InvalidRequest(f"pixels has {len(content)} bytes, but its shape says another number")
    if (size := raw_pixels.least_bytes(height, width)) > most_bytes:  # refused later, but encoding it costs
        raise TooLarge(f"an image of pixels has {size} bytes, more than the {most_bytes} taken; send it scaled down")
    pixels, each = memoryview(content), len(content) // count
    return [raw_pixels.png(pixels[at : at + each], height, width) for at in range(0, len(content), each)]


def _check_count(count: int, most: int) -> None:
    if count < 1:
        raise InvalidRequest("no image in the request; send at least one")
    if count > most:
        raise TooLarge(f"more than the {most} images taken in one call; send several calls")
