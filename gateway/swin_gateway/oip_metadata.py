"""What is served -> the words that the Open Inference Protocol has for it, as plain dicts for REST and gRPC alike."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from swin_gateway.model import Models
from swin_gateway.oip_tensors import INPUTS, TensorKind, outputs_of

NAME = "swinserve"
PLATFORM = "swinserve_torch"
EXTENSIONS = ("binary_tensor_data", "classification")
"""Those of Triton's extensions that are here."""


def server_metadata() -> dict[str, Any]:
    return {"name": NAME, "version": metadata.version("swinserve"), "extensions": list(EXTENSIONS)}


def model_metadata(models: Models, name: str, version: str) -> dict[str, Any]:
    """Raises ModelNotFound."""
    model = models.find(name, version)
    return {
        "name": model.name,
        "versions": [other.version for other in models if other.name == model.name],
        "platform": PLATFORM,
        "inputs": [_tensor(kind) for kind in INPUTS],
        "outputs": [_tensor(kind) for kind in outputs_of(model.manifest)],
    }


def _tensor(kind: TensorKind) -> dict[str, Any]:
    return {"name": kind.name, "datatype": kind.datatype, "shape": list(kind.shape)}
