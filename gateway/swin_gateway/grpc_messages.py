"""Bytes of a gRPC request -> its message, or InvalidRequest; looked at before anything is built of them.

Of two bytes, that announce an empty image or a field nobody knows, protobuf builds tens: a message of 24 MiB could take
hundreds of megabytes. And gRPC itself would answer bytes that are no message with a status that blames the service.
"""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from swin_gateway.errors import InvalidRequest, TooLarge

FIELDS_AN_IMAGE = 2
"""The image itself, and its content."""
OTHER_FIELDS = 100
"""More than all other fields there are; later releases may have more."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}

M = TypeVar("M", bound=Message)


def read(kind: type[M], data: bytes, *, images: int = 1, numbers: int = 0) -> M:
    """Raises InvalidRequest when `data` is no such message, TooLarge when it has more fields than `images` images, or
    more than so many bytes of numbers one behind the other."""
    try:
        _check_fields(data, kind.DESCRIPTOR, FIELDS_AN_IMAGE * images + OTHER_FIELDS, numbers)
        return kind.FromString(data)
    except (DecodeError, IndexError, ValueError):
        raise InvalidRequest(f"the message is no {kind.DESCRIPTOR.full_name}; proto/ has its definition") from None


def _check_fields(data: bytes, kind: Any, most: int, numbers: int) -> None:
    """Steps from field to field, without looking into them. Raises IndexError or ValueError where protobuf would not
    go on either.

    kind: a descriptor, of whichever implementation of protobuf there is
    """
    left = most
    messages = [(0, len(data), kind)]
    while messages:
        at, end, kind = messages.pop()
        while at < end:
            if (left := left - 1) < 0:
                raise TooLarge(f"the message has more than {most} fields; send several calls")
            key, at = _varint(data, at)
            wire = key & 7
            if wire == _BYTES:
                length, at = _varint(data, at)
                field = kind.fields_by_number.get(key >> 3)
                if field is not None and field.message_type is not None:
                    messages.append((at, at + length, field.message_type))
                elif field is not None and field.is_packed:  # of a byte each perhaps, and eight once they are read
                    numbers -= length
                    if numbers < 0:
                        raise TooLarge("the message has too many numbers; send them as raw bytes")
                at += length
            elif wire == _VARINT:
                _, at = _varint(data, at)
            elif wire in _FIXED:
                at += _FIXED[wire]
            else:  # a group, of which proto3 has none
                raise ValueError(wire)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends)"""
    value = 0
    for number in range(10):
        byte = data[at + number]
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return value, at + number + 1
    raise ValueError("a number too long")
