"""The bytes of a JPEG -> the HTTP POST that a peer takes it in: its headers and its body."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_BOUNDARY = "swinserve-8f1d6c0e5a7b4932"
_MSGPACK_MAP_OF_ONE, _MSGPACK_SHORT_TEXT, _MSGPACK_BYTES = 0x81, 0xA0, 0xC6  # msgpack's format specification


@dataclass(frozen=True)
class Post:
    headers: Mapping[str, str]
    body: bytes


Form = Callable[[bytes], Post]


def raw(jpeg: bytes) -> Post:
    return Post({"content-type": "image/jpeg"}, jpeg)


def multipart(field: str) -> Form:
    """One file in a form, as `curl -F FIELD=@image.jpg` sends it."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="image.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    tail = f"\r\n--{_BOUNDARY}--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return lambda jpeg: Post(headers, head.encode() + jpeg + tail.encode())


def json_base64(field: str) -> Form:
    """{FIELD: base64 of the file}"""
    headers = {"content-type": "application/json"}
    return lambda jpeg: Post(headers, json.dumps({field: base64.b64encode(jpeg).decode()}).encode())


def msgpack(field: str) -> Form:
    """{FIELD: the file} in msgpack; written by hand, since it is all that is needed of it"""
    name = field.encode()
    assert len(name) < 32, "a longer text has another form"
    head = bytes([_MSGPACK_MAP_OF_ONE, _MSGPACK_SHORT_TEXT | len(name)]) + name + bytes([_MSGPACK_BYTES])
    headers = {"content-type": "application/msgpack"}
    return lambda jpeg: Post(headers, head + len(jpeg).to_bytes(4, "big") + jpeg)


def triton(field: str, *, text: bool) -> Form:
    """Triton's binary data extension; text: as one BYTES element, so that images of any length fit into one batch,
    else as a row of UINT8."""

    def form(jpeg: bytes) -> Post:
        data = len(jpeg).to_bytes(4, "little") + jpeg if text else jpeg
        tensor = {
            "name": field,
            "datatype": "BYTES" if text else "UINT8",
            "shape": [1, 1 if text else len(jpeg)],
            "parameters": {"binary_data_size": len(data)},
        }
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        return Post(headers, head + data)

    return form
