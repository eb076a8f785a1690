"""onnxruntime: torch's own export, all graph optimisations; int8 by its static quantisation in QDQ form."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .calibration import calibration_images, quiet
from .contender import Absent, Call, Contender, Setting
from .subject import Subject, timm_module


def _make(subject: Subject, setting: Setting) -> Call:
    if setting.dtype == "bfloat16":
        raise Absent("onnxruntime has no bfloat16 on the CPU")
    try:
        import onnxruntime
    except ImportError as error:
        raise Absent(f"onnxruntime: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "fixed.onnx")
        file.write_bytes(_fixed(_model(subject.name, setting.dtype), subject))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {"images": subject.images.numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


@functools.lru_cache(maxsize=1)
def _model(name: str, dtype: str) -> bytes:
    """An ONNX file whose batch size is still open."""
    with tempfile.TemporaryDirectory() as folder:
        file = _exported(name, Path(folder))
        return (_quantised(file, name) if dtype == "int8" else file).read_bytes()


def _exported(name: str, folder: Path) -> Path:
    example = (calibration_images(name, 1).repeat(2, 1, 1, 1),)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    open_batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.onnx.export(timm_module(name), example, dynamic_shapes=open_batch, verbose=False, **names)
    assert program is not None, "the new exporter returns one"
    program.save(folder / "model.onnx")
    return folder / "model.onnx"


def _quantised(file: Path, name: str) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, np.ndarray]] = iter(
                [{"images": image[None].numpy()} for image in calibration_images(name)]
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    prepared, quantised = file.with_name("prepared.onnx"), file.with_name("int8.onnx")
    with quiet():
        quant_pre_process(file, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # On x86 its documentation says U8S8, the faster pair where there is VNNI.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return quantised


def _fixed(model: bytes, subject: Subject) -> bytes:
    """With this subject's batch size in it, so that shape arithmetic folds away when it is loaded."""
    import onnx
    from onnxruntime.tools.onnx_model_utils import make_input_shape_fixed

    loaded = onnx.load_from_string(model)
    make_input_shape_fixed(loaded.graph, "images", list(subject.images.shape))
    return bytes(loaded.SerializeToString())


CONTENDERS = (Contender("onnxruntime", _make),)
