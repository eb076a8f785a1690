"""An inference request of the Open Inference Protocol -> images and options; what was found -> output tensors.

What a request asks for beyond the images are its outputs, their parameters and its own. What is not known is refused by
name.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from swin_gateway import large_work
from swin_gateway.archive import Manifest
from swin_gateway.errors import InvalidRequest
from swin_gateway.oip_tensors import (
    EMBEDDING,
    INDICES,
    LABELS,
    SCORES,
    InputTensor,
    OutputTensor,
    clipped,
    images,
    outputs_of,
)
from swin_gateway.options import DEFAULT_TOP_K, Options
from swin_proto.v1.classifier_pb2 import ClassifyResponse, Predictions

MAX_ID = 1000
"""Characters of a request's id, which comes back in the answer."""
MICROSECONDS = 1e-6
TOP_K, TIMEOUT, CLASSIFICATION = "top_k", "timeout", "classification"


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    name: str
    class_count: int = 0
    """Of scores: so many classes as texts "score:index:label" instead."""


@dataclass(frozen=True, slots=True)
class Inference:
    """A request as both protocols bring it; parameters are what they are, unchecked."""

    inputs: Sequence[InputTensor]
    model: str = ""
    version: str = ""
    """Both where the request itself names them."""
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """Names with parameters; none: all that is known of the classes, or the embedding of a model without."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What it means, for one model."""

    outputs: Sequence[RequestedOutput]
    top_k: int
    options: Options
    timeout: float | None
    """Seconds."""


def asked(inference: Inference, model: Manifest) -> Asked:
    """Raises InvalidRequest when it asks for what there is not."""
    if len(inference.id) > MAX_ID:
        raise InvalidRequest(f"the id has more than {MAX_ID} characters")
    _refuse_unknown(inference.parameters, TOP_K, TIMEOUT)
    timeout = _whole_number(inference.parameters, TIMEOUT, 0)
    top_k = _whole_number(inference.parameters, TOP_K, DEFAULT_TOP_K)
    if len({name for name, _ in inference.outputs}) < len(inference.outputs):
        raise InvalidRequest("an output is asked for twice")
    outputs = [_output(name, parameters, model) for name, parameters in inference.outputs] or _default(model)
    classes = [each.class_count or top_k for each in outputs if each.name != EMBEDDING]
    options = Options(top_k=max(classes, default=0), embedding=any(each.name == EMBEDDING for each in outputs))
    return Asked(outputs, top_k, options.for_model(model), timeout * MICROSECONDS if timeout else None)


async def images_of(inference: Inference, most: int, most_bytes: int) -> list[bytes]:
    """Raises InvalidRequest, and TooLarge when there are more than `most`, or pixels of more than `most_bytes`."""
    if len(inference.inputs) != 1:
        raise InvalidRequest(f"{len(inference.inputs)} inputs; send one, image or pixels")
    (tensor,) = inference.inputs
    return await large_work.done(len(tensor.content), images, tensor, most, most_bytes)


def answer(response: ClassifyResponse, asked: Asked) -> list[OutputTensor]:
    """response: without errors"""
    found = [result.predictions for result in response.results]
    return [_tensor(output, found, asked.top_k) for output in asked.outputs]


def _default(model: Manifest) -> list[RequestedOutput]:
    names = [kind.name for kind in (SCORES, INDICES, LABELS)] if model.num_classes else [EMBEDDING]
    return [RequestedOutput(name) for name in names]


def _output(name: str, parameters: Mapping[str, Any], model: Manifest) -> RequestedOutput:
    known = [kind.name for kind in outputs_of(model)]
    if name not in known:
        raise InvalidRequest(f"{model.identity} has no output {clipped(name)}; there are {', '.join(known)}")
    _refuse_unknown(parameters, CLASSIFICATION)
    count = _whole_number(parameters, CLASSIFICATION, 0)
    if count and name != SCORES.name:
        raise InvalidRequest(f"{CLASSIFICATION} is for the output {SCORES.name}, not for {name}")
    return RequestedOutput(name, count)


def _tensor(output: RequestedOutput, found: Sequence[Predictions], top_k: int) -> OutputTensor:
    if output.name == EMBEDDING:
        numbers = b"".join(each.embedding.data for each in found)
        shape = (len(found), *found[0].embedding.shape)
        return OutputTensor(EMBEDDING, "FP32", shape, struct.unpack(f"<{len(numbers) // 4}f", numbers))
    columns = min(output.class_count or top_k, *(len(each.predictions) for each in found))
    best = chain.from_iterable(each.predictions[:columns] for each in found)
    shape = (len(found), columns)
    if output.class_count:
        texts = [f"{each.score:f}:{each.index}:{each.label}".encode() for each in best]
        return OutputTensor(SCORES.name, "BYTES", shape, texts)
    if output.name == SCORES.name:
        return OutputTensor(SCORES.name, SCORES.datatype, shape, [each.score for each in best])
    if output.name == INDICES.name:
        return OutputTensor(INDICES.name, INDICES.datatype, shape, [each.index for each in best])
    return OutputTensor(LABELS.name, LABELS.datatype, shape, [each.label.encode() for each in best])


def _refuse_unknown(parameters: Mapping[str, Any], *known: str) -> None:
    """A misspelt parameter must not be silently without effect."""
    if unknown := sorted(set(parameters) - set(known)):
        raise InvalidRequest(f"unknown parameter {clipped(', '.join(unknown))}; there are {', '.join(known)}")


def _whole_number(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name, default)
    if type(value) is not int or not 0 <= value < 2**63:
        raise InvalidRequest(f"the parameter {name} must be a whole number from 0 up")
    return value
