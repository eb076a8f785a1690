"""Bodies of the Open Inference Protocol over REST: JSON, with tensors in it or as bytes behind it (Triton's binary
extension) -> `Inference`; output tensors -> such a body.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic import ValidationError

from swin_gateway import base64_text
from swin_gateway.errors import InvalidRequest, TooLarge
from swin_gateway.oip_inference import Inference, RequestedOutput
from swin_gateway.oip_schema import InferInputJson, InferJson
from swin_gateway.oip_tensors import EMBEDDING, IMAGE, InputTensor, OutputTensor, clipped
from swin_gateway.rest_options import MAX_LISTED

JSON_LENGTH = "inference-header-content-length"
"""The header that says how many bytes of a body are JSON, where tensors follow."""
BINARY_OUTPUT, BINARY, SIZE = "binary_data_output", "binary_data", "binary_data_size"
"""Parameters: of a request, whether its outputs are wanted as bytes; of one output; of a tensor, how many there are."""

MAX_KEYS = 1000
MAX_VALUES, MAX_LISTS = 200_000, 70_000
"""A picture of 256×256 as nested lists. JSON of so many takes up to 0.1 s, in which nothing else is answered."""


@dataclass(frozen=True, slots=True)
class Form:
    """In which an answer is wanted."""

    binary: Sequence[bool]
    """Of each output that was asked for by name."""
    otherwise: bool
    """Of the outputs where none was."""

    def is_binary(self, number: int) -> bool:
        return self.binary[number] if self.binary else self.otherwise

    def check_listed(self, outputs: Sequence[RequestedOutput], numbers: int) -> None:
        """numbers: in the embeddings that are asked for. Raises TooLarge when they are too many for a list."""
        listed = any(each.name == EMBEDDING and not self.is_binary(number) for number, each in enumerate(outputs))
        if listed and numbers > MAX_LISTED:
            raise TooLarge(f"the answer could list {numbers} numbers, more than {MAX_LISTED}; ask for {BINARY}")


def read(content: bytes, json_length: str | None) -> tuple[Inference, Form]:
    """content: a whole body; json_length: the header JSON_LENGTH, if it was sent. Raises InvalidRequest, TooLarge."""
    size = _size(json_length, len(content))
    asked = _parse(content[:size])
    everything = _flag(asked.parameters, BINARY_OUTPUT, False)
    binary = [_flag(each.parameters, BINARY, everything) for each in asked.outputs]
    inference = Inference(
        inputs=_tensors(asked.inputs, content, size),
        id=asked.id,
        parameters=asked.parameters,
        outputs=[(each.name, each.parameters) for each in asked.outputs],
    )
    return inference, Form(binary, everything)


def write(facts: dict[str, Any], tensors: Sequence[OutputTensor], form: Form) -> tuple[bytes, int | None]:
    """facts: of the answer beside its tensors. (body, how much of it is JSON where that is not all)"""
    outputs, raw = [], []
    for number, tensor in enumerate(tensors):
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if form.is_binary(number):
            raw.append(tensor.raw())
            output["parameters"] = {SIZE: len(raw[-1])}
        else:
            output["data"] = tensor.listed()
        outputs.append(output)
    head = json.dumps(facts | {"outputs": outputs}, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return b"".join((head, *raw)), len(head) if raw else None


def _size(header: str | None, most: int) -> int:
    if header is None:
        return most
    if not (header.isascii() and header.isdigit() and len(header) < 12 and int(header) <= most):
        raise InvalidRequest(f"Inference-Header-Content-Length {clipped(header)} does not fit a body of {most} bytes")
    return int(header)


def _parse(content: bytes) -> InferJson:
    # Counted before anything is built: 24 MiB of tiny values take seconds and a gigabyte.
    if content.count(b",") > MAX_VALUES or content.count(b"[") > MAX_LISTS:
        raise TooLarge(f"more than {MAX_VALUES} values or {MAX_LISTS} lists in the JSON; send tensors as binary data")
    if content.count(b":") > MAX_KEYS:
        raise TooLarge(f"more than {MAX_KEYS} keys in the JSON")
    try:
        return InferJson.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = clipped(".".join(map(str, first["loc"])) or "body")
        raise InvalidRequest(f"{where}: {first['msg'][:200]}") from None


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    """Taken out of the parameters, because it is REST's alone."""
    value = parameters.pop(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"the parameter {name} must be true or false")
    return value


def _tensors(inputs: Sequence[InferInputJson], content: bytes, at: int) -> list[InputTensor]:
    """at: where the JSON ends"""
    tensors = []
    for each in inputs:
        size = each.parameters.pop(SIZE, None)
        if each.parameters:
            raise InvalidRequest(f"unknown parameter {clipped(next(iter(each.parameters)))} of {clipped(each.name)}")
        if (size is None) == (each.data is None):
            raise InvalidRequest(f"{clipped(each.name)} needs either data or the parameter {SIZE}")
        if size is None:
            tensors.append(InputTensor(each.name, each.datatype, each.shape, _listed(each)))
            continue
        if type(size) is not int or not 0 <= size <= len(content) - at:
            raise InvalidRequest(f"the {SIZE} of {clipped(each.name)} does not fit the body")
        tensors.append(InputTensor(each.name, each.datatype, each.shape, content[at : at + size]))
        at += size
    if at != len(content):
        raise InvalidRequest(f"{len(content) - at} bytes of the body belong to no tensor")
    return tensors


def _listed(tensor: InferInputJson) -> bytes | list[bytes]:
    values: list[Any] = tensor.data or []
    try:
        while values and isinstance(values[0], list):
            if not all(isinstance(each, list) for each in values):  # texts and objects can be gone through as well
                raise TypeError
            values = list(chain.from_iterable(values))
        if tensor.datatype == IMAGE.datatype:
            return [base64_text.decoded(value) for value in values]
        return bytes(values)
    except (TypeError, ValueError):
        what = "files in base64" if tensor.datatype == IMAGE.datatype else "numbers from 0 to 255"
        raise InvalidRequest(f"the data of {clipped(tensor.name)} must be {what}, or send it as binary data") from None
