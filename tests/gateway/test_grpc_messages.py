from __future__ import annotations

import tracemalloc

import pytest
from google.protobuf.message import Message

from swin_gateway import grpc_messages
from swin_gateway.errors import InvalidRequest, TooLarge
from swin_proto.v1.classifier_pb2 import (
    ClassifyOptions,
    ClassifyRequest,
    ClassifyStreamRequest,
    GetModelRequest,
    Image,
    ListModelsRequest,
)

WHOLE: list[Message] = [
    ClassifyRequest(),
    ClassifyRequest(
        model="m",
        version="1",
        images=[Image(content=b"x" * 300)] * 64,
        options=ClassifyOptions(top_k=-1, min_score=0.5),
    ),
    ClassifyStreamRequest(id="i" * 200, image=Image(content=bytes(100_000)), options=ClassifyOptions(embedding=True)),
    GetModelRequest(model="größe"),
    ListModelsRequest(),
]


@pytest.mark.parametrize("message", WHOLE, ids=lambda message: message.DESCRIPTOR.name)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert grpc_messages.read(type(message), message.SerializeToString(), images=64) == message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff", id="a number that does not end"),
        pytest.param(b"\xff" * 11, id="a number that is too long"),
        pytest.param(b"\x0a\x05ab", id="a field that ends early"),
        pytest.param(b"\x1a\x04\x0a\x09ab", id="an image that ends early"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x0f", id="a wire type that there is not"),
        pytest.param(b"\x00", id="field 0"),
        pytest.param(b"\x0a\x01\xff", id="a name that is no UTF-8"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="another protocol"),
    ],
)
def test_what_is_no_message_is_an_invalid_request(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"no swinserve\.v1\.ClassifyRequest"):
        grpc_messages.read(ClassifyRequest, data)


MANY = {
    "empty images": b"\x1a\x00",
    "images of empty fields": b"\x1a\x02\x0a\x00",
    "fields that nobody knows": b"\xf8\x07\x01",
    "options again and again": b"\x22\x02\x18\x01",
}


@pytest.mark.parametrize("field", MANY.values(), ids=MANY.keys())
def test_millions_of_fields_are_too_large_before_anything_is_made_of_them(field: bytes) -> None:
    data = field * 5_000_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="more than 228 fields"):
            grpc_messages.read(ClassifyRequest, data, images=64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_millions_of_fields_within_a_field_are_too_large_as_well() -> None:
    inner = b"\xf8\x07\x01" * 100_000
    for number in (3, 4):
        data = bytes([number << 3 | 2]) + _varint(len(inner)) + inner
        with pytest.raises(TooLarge):
            grpc_messages.read(ClassifyRequest, data, images=64)


def _varint(value: int) -> bytes:
    digits = [value >> shift & 0x7F for shift in range(0, 21, 7)]
    return bytes([digits[0] | 0x80, digits[1] | 0x80, digits[2]])
