"""TorchServe's own path: one image as the body -> {label: score} as JSON, as its stock image_classifier answers.

`curl -T image.png http://…/predictions/MODEL`, or with options, which TorchServe passes on as form fields only:
`curl -F data=@image.png -F top_k=3 -F min_score=0.1 …`. A model without a head answers with its embedding, a JSON list
of numbers. Needs neither protobuf nor grpc.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from swin_handler.errors import BadJob, ImageError, UnsupportedType
from swin_handler.request import Request
from swin_handler.result import Predictions

DEFAULT_TOP_K = 5  # as the stock handler


def parse(row: Mapping[str, Any]) -> Request:
    """Raises BadJob or UnsupportedType."""
    body = row.get("data", row.get("body"))
    if isinstance(body, str):  # TorchServe decodes text bodies; the stock handler takes base64 there
        body = _from_base64(body)
    if not isinstance(body, bytes | bytearray):
        raise BadJob("send the bytes of one image file as the body, or as the form field `data`")
    return Request(images=(bytes(body),), top_k=_top_k(row), min_score=_min_score(row))


def encode(found: Predictions, names: Sequence[str]) -> bytes:
    """names: of every class, unique (see `unique`)"""
    if found.embedding is not None:  # nothing on this path asks for it: the model has nothing else
        return json.dumps(found.embedding.tolist()).encode()
    answer = {names[index]: score for index, score in zip(found.indices, found.scores, strict=True)}
    return json.dumps(answer, indent=2, ensure_ascii=False).encode()


def encode_error(error: ImageError) -> bytes:
    return json.dumps({"code": error.http, "type": error.kind, "message": error.message}, indent=2).encode()


def unique(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as keys of an answer: ImageNet has two cranes, which the stock handler lets collapse into one."""
    count = Counter(labels)
    return tuple(f"{label} ({index})" if count[label] > 1 else label for index, label in enumerate(labels))


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedType("the body is text; send the bytes of an image file") from error


def _top_k(row: Mapping[str, Any]) -> int:
    text = _text(row, "top_k", str(DEFAULT_TOP_K))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BadJob("top_k must be a whole number from 1 up")
    return int(text)


def _min_score(row: Mapping[str, Any]) -> float:
    try:
        score = float(_text(row, "min_score", "0"))
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise BadJob("min_score must be a number from 0 to 1")
    return score


def _text(row: Mapping[str, Any], key: str, default: str) -> str:
    value = row.get(key, default)
    return value if isinstance(value, str) else bytes(value).decode("ascii", errors="replace")
