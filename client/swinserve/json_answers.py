"""Decoded JSON bodies of the REST interface -> results.

KeyError, TypeError, ValueError or AttributeError where a body breaks the contract.
"""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import SwinserveError, error_class
from .results import BackendTiming, Classification, ImageResult, Model, Prediction, Region, Timing

if TYPE_CHECKING:
    from .arrays import Array


def classification(body: Mapping[str, Any], request_id: str) -> Classification:
    timing = body["timing"]
    return Classification(
        model=str(body["model"]),
        version=str(body["version"]),
        backend=str(body["backend"]),
        dtype=str(body["dtype"]),
        results=tuple(_result(result, request_id) for result in body["results"]),
        timing=Timing(*(float(timing[stage]) for stage in ("queue", "batch_wait", "decode", "inference"))),
        request_id=request_id,
    )


def models(body: Mapping[str, Any]) -> list[Model]:
    return [model(described) for described in body["models"]]


def model(body: Mapping[str, Any]) -> Model:
    """A proto Model as JSON. proto3's JSON writes 64-bit integers as strings, so numbers are converted."""
    return Model(
        name=str(body["name"]),
        version=str(body["version"]),
        versions=tuple(map(str, body["versions"])),
        ready=bool(body["ready"]),
        architecture=str(body["architecture"]),
        input_height=int(body["input_height"]),
        input_width=int(body["input_width"]),
        labels=tuple(map(str, body["labels"])),
        parameters=int(body["parameters"]),
        multiply_adds=int(body["multiply_adds"]),
        dtype=str(body["dtype"]),
        backend=str(body["backend"]),
        backend_reason=str(body["backend_reason"]),
        batch_buckets=tuple(map(int, body["batch_buckets"])),
        weights=str(body["weights"]),
        embedding_size=int(body["embedding_size"]),
        activation_map_height=int(body["activation_map_height"]),
        activation_map_width=int(body["activation_map_width"]),
        backend_timings=tuple(map(_backend_timing, body["backend_timings"])),
        preprocessing=str(body["preprocessing"]),
        accuracy=str(body["accuracy"]),
        licence=str(body["licence"]),
    )


def _backend_timing(body: Mapping[str, Any]) -> BackendTiming:
    return BackendTiming(
        backend=str(body["backend"]),
        batch_bucket=int(body["batch_bucket"]),
        best_seconds=float(body["best_seconds"]),
        median_seconds=float(body["median_seconds"]),
        relative_l2=float(body["relative_l2"]),
        chosen=bool(body["chosen"]),
    )


def _result(result: Mapping[str, Any], request_id: str) -> ImageResult:
    if "error" in result:
        return ImageResult(error=_error(result["error"], request_id))
    return ImageResult(
        predictions=tuple(map(_prediction, result["predictions"])),
        embedding=_array(result.get("embedding"), dimensions=1),
        map_region=_region(result.get("map_region")),
    )


def _prediction(body: Mapping[str, Any]) -> Prediction:
    activation_map = _array(body.get("class_activation_map"), dimensions=2)
    return Prediction(str(body["label"]), int(body["index"]), float(body["score"]), activation_map)


def _array(body: Mapping[str, Any] | list[Any] | None, dimensions: int) -> "Array | None":
    if body is None:
        return None
    from .arrays import array, listed

    if isinstance(body, list):
        # The form that nobody chose: the embedding of a model without classes comes unasked.
        return listed(body, dimensions)
    if body["dtype"] != "float32":
        raise ValueError(f"numbers of type {body['dtype']!r} where float32 belongs")
    return array([int(size) for size in body["shape"]], base64.b64decode(body["data"], validate=True), dimensions)


def _region(body: Mapping[str, Any] | None) -> Region | None:
    return None if body is None else Region(*(float(body[side]) for side in ("left", "top", "right", "bottom")))


def _error(error: Mapping[str, Any], request_id: str) -> SwinserveError:
    reason, code = str(error.get("reason", "")), str(error["code"])
    kind = error_class(reason=reason, code=code)
    request_id = str(error.get("request_id") or request_id)
    return kind(str(error["message"]), code=code, reason=reason, request_id=request_id)
