"""OpenVINO's CPU plugin: one graph on disk for batches of any size, compiled for each batch bucket when it is loaded.

That compiling takes a third of a second for Swin-T; a file compiled before loads no faster, and fits one kind of CPU.
The graph is in float32 whatever the plan says: OpenVINO rounds for itself what it computes in bfloat16.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from swin_handler.engine import flat
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.flat import FlatNetwork
from swin_handler.engine.forward import Forward
from swin_handler.engine.normalised import NormalisedModel
from swin_handler.engine.plan import Plan
from swin_handler.model import LoadedModel
from swin_handler.outputs import Outputs

GRAPH = "model.xml"
"""With its weights in model.bin beside it."""
INSTALL = 'it is not installed: pip install "swinserve[openvino]"'
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def refusal(_model: LoadedModel, plan: Plan) -> str | None:
    if plan.device.type != "cpu":
        return "it serves on the CPU only"
    return None if importlib.util.find_spec("openvino") else INSTALL


def prepare(model: LoadedModel, plan: Plan, folder: Path) -> None:
    """In int8 the graph must be there already, made by `build.quantise`. Raises BackendFailed."""
    if plan.dtype != "int8":
        # timm's own form, whose constants OpenVINO folds as well; in ours the patch embedding takes raw pixels, which
        # OpenVINO's bfloat16 would round too coarsely.
        write(convert(model, NormalisedModel(model)), folder)
    elif not (folder / GRAPH).is_file():
        raise BackendFailed("int8 is calibrated on images: build the archive with --calibration DIR")


def load(model: LoadedModel, plan: Plan, folder: Path) -> dict[int, Forward]:
    openvino = runtime()
    core, parts = openvino.Core(), flat.parts(model)
    height, width = model.data_config["input_size"][-2:]
    options = _options(core, plan)
    forwards = {}
    for bucket in plan.buckets:
        try:
            graph = core.read_model(folder / GRAPH)
            graph.reshape([bucket, height, width, 3])  # static: compiled for this size alone
            forwards[bucket] = _forward(core.compile_model(graph, "CPU", options), parts)
        except RuntimeError as error:
            raise BackendFailed(f"{GRAPH} cannot be loaded: {_reason(error)}") from error
    return forwards


def runtime() -> ModuleType:
    """OpenVINO, kept from reporting its use. Raises BackendFailed when it is not installed."""
    # It and NNCF send usage data from their import on, unless a file in the home folder says otherwise. Without this
    # package, which does the sending, both fall back to doing nothing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise BackendFailed(INSTALL if error.name == "openvino" else f"it cannot be imported: {error}") from error


def convert(model: LoadedModel, network: nn.Module) -> Any:
    """OpenVINO's graph, for batches of any size, of a form of `model`: float32, uint8 (B, H, W, 3) -> Outputs. Raises
    BackendFailed."""
    openvino = runtime()
    module = FlatNetwork(network, flat.parts(model)).eval()
    height, width = model.data_config["input_size"][-2:]
    pixels = torch.zeros(2, height, width, 3, dtype=torch.uint8)  # of 1, export would make a constant
    try:
        with torch.no_grad():
            program = torch.export.export(module, (pixels,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        graph = openvino.convert_model(program)
    except Exception as error:  # each of both has its own ways to fail, and another backend can serve
        raise BackendFailed(f"it cannot convert this model: {_reason(error)}") from error
    graph.reshape([-1, height, width, 3])
    return graph


def write(graph: Any, folder: Path) -> None:
    # Half precision would halve the file, and round the weights.
    runtime().save_model(graph, folder / GRAPH, compress_to_fp16=False)


def _options(core: Any, plan: Plan) -> dict[str, object]:
    # What int8 leaves in floating point is rounded to what the CPU multiplies fastest.
    fastest = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": plan.threads,
        "INFERENCE_PRECISION_HINT": _PRECISIONS.get(plan.dtype, fastest),
        # Pinned threads would hold the cores that decoding needs, and those of a second worker.
        "ENABLE_CPU_PINNING": False,
    }


def _forward(compiled: Any, parts: tuple[str, ...]) -> Forward:
    request = compiled.create_infer_request()

    def forward(pixels: torch.Tensor) -> Outputs:
        # The input is not copied; the outputs are, as the next pass writes over its own.
        results = request.infer([pixels.numpy()], share_inputs=True)
        return flat.outputs(parts, [torch.from_numpy(results[index]) for index in range(len(parts))])

    return forward


def _reason(error: Exception) -> str:
    """The last line that says something: OpenVINO puts the place in its own source first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
