"""A function of Triton's requests -> Triton on loopback, as the model `Swin`, until SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

import numpy as np
from loadtests.peers.arguments import HOST
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

OUTPUTS = (Tensor(name="label", dtype=bytes, shape=(5,)), Tensor(name="score", dtype=np.float32, shape=(5,)))


def serve(port: int, infer: Callable[..., Any], image: Tensor, config: ModelConfig) -> None:
    """infer: images -> outputs(…)"""
    # Triton runs a Python of its own, on the first libpython it finds, with this one's standard library: without this a
    # system's Python of another patch release would be mixed with it.
    libraries = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    addresses = {f"{kind}_address": HOST for kind in ("http", "grpc", "metrics")}
    triton_config = TritonConfig(http_port=port, grpc_port=_free_port(), metrics_port=_free_port(), **addresses)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Triton(config=triton_config) as triton:
        triton.bind("Swin", infer_func=infer, inputs=[image], outputs=OUTPUTS, config=config, strict=True)
        triton.serve()


def outputs(answers: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {
        "label": np.array([[label.encode() for label in answer] for answer in answers]),
        "score": np.array([list(answer.values()) for answer in answers], dtype=np.float32),
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port
