"""Any request -> how the gateway's parsers end; anything but what they promise raises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request
from google.protobuf.message import Message
from pydantic import ValidationError

from swin_gateway import grpc_messages, oip_grpc, oip_inference, oip_json
from swin_gateway.body import BodyReader
from swin_gateway.errors import ServingError
from swin_gateway.oip_inference import Inference
from swin_gateway.request_id import request_id_from
from swin_gateway.rest_options import RestOptions
from swin_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyStreamRequest, GetModelRequest, ListModelsRequest
from tests.gateway.samples import archive_of

MAX_BYTES, MAX_IMAGES = 50_000, 4
CONTENT_TYPES = (
    "",
    "image/png",
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=cut",
    'multipart/form-data; boundary="a b"; charset=utf-16',
    "multipart/form-data",
)
MESSAGES: tuple[type[Message], ...] = (ClassifyRequest, ClassifyStreamRequest, GetModelRequest, ListModelsRequest)

_model = archive_of().manifest
_reader = BodyReader(max_bytes=MAX_BYTES, max_images=MAX_IMAGES)


def body(content_type: str, chunks: Sequence[bytes]) -> str:
    """images, or the error's reason"""
    headers = [(b"content-type", content_type.encode("latin-1"))] if content_type else []
    source = iter(chunks)

    async def receive() -> dict[str, Any]:
        chunk = next(source, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    try:
        images = asyncio.run(_reader.images(Request({"type": "http", "headers": headers}, receive)))
    except ServingError as error:
        return _reason(error)
    assert all(isinstance(image, bytes) for image in images)
    assert sum(map(len, images)) <= MAX_BYTES
    assert len(images) <= MAX_IMAGES + 1
    return "images"


def query(asked: dict[str, str]) -> str:
    """options, or refused"""
    try:
        options = RestOptions.model_validate(asked).options
    except ValidationError:
        return "refused"
    assert isinstance(options.top_k, int)
    return "options"


def message(kind: type[Message], data: bytes) -> str:
    """message, or the error's reason; a message is what protobuf itself makes of the bytes"""
    try:
        found = grpc_messages.read(kind, data, images=MAX_IMAGES)
    except ServingError as error:
        return _reason(error)
    assert found == kind.FromString(data)
    return "message"


def inference(content: bytes, json_length: str | None) -> str:
    """images, or the error's reason"""
    return _inferred(lambda: oip_json.read(content, json_length)[0])


def inference_message(data: bytes) -> str:
    """images, or the error's reason"""
    return _inferred(lambda: oip_grpc.read(data, MAX_IMAGES))


def _inferred(read: Callable[[], Inference]) -> str:
    try:
        asked = read()
        oip_inference.asked(asked, _model)
        images = asyncio.run(oip_inference.images_of(asked, MAX_IMAGES, MAX_BYTES))
    except ServingError as error:
        return _reason(error)
    assert all(isinstance(image, bytes) for image in images)
    assert 0 < len(images) <= MAX_IMAGES
    return "images"


def request_id(asked: bytes) -> str:
    """kept or new"""
    found = request_id_from(asked)
    assert found.isascii()
    assert found.isprintable()
    assert 0 < len(found) <= 128
    return "kept" if found.encode() == asked else "new"


def _reason(error: ServingError) -> str:
    assert 400 <= error.http < 500
    assert 0 < len(error.message) < 1000
    return error.reason
