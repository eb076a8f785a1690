"""The handler on a CUDA device: `make gpu` gathers these. CI has no device and deselects them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from swin_handler import engine, model
from swin_handler.batch import STICKY_EXIT, Facts, Pipeline
from swin_handler.config import HandlerConfig, Manifest
from swin_handler.decode import Decoder
from swin_handler.outputs import Outputs
from swin_handler.request import Request
from swin_handler.result import Predictions
from tests.handler import pictures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")
CPU = torch.device("cpu")

LOSE_THE_CONTEXT = """
import torch
from swin_handler.batch import Facts, Pipeline
from swin_handler.decode import Decoded
from swin_handler.region import Region
from swin_handler.request import Request
from concurrent.futures import ThreadPoolExecutor

class Broken:
    buckets = (1,)
    bucket = staticmethod(lambda size: 1)
    def run(self, pixels):
        table = torch.zeros(4, device="cuda")
        return table[torch.tensor([99], device="cuda")].cpu()  # a device-side assert

image = Decoded(torch.zeros(2, 2, 3, dtype=torch.uint8), Region(0, 0, 1, 1))
Pipeline(lambda data: image, Broken(), ThreadPoolExecutor(1)).classify([Request((b"x",), 1)], Facts(0.0))
print("still alive")
"""


@pytest.fixture
def loaded(unpacked: Path, manifest: Manifest) -> model.LoadedModel:
    return model.load(unpacked, manifest)


def noise(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (size, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_cuda_answers_as_the_cpu_does(
    unpacked: Path, manifest: Manifest, backend: str, dtype: str, bound: float
) -> None:
    pixels = noise(3)
    expected = engine.create(model.load(unpacked, manifest), HandlerConfig(batch_buckets=(4,)), device=CPU).run(pixels)
    config = HandlerConfig(backend=backend, dtype=dtype, batch_buckets=(2, 4))
    made = engine.create(model.load(unpacked, manifest), config, device=CUDA)
    assert (made.backend, made.dtype) == (backend, dtype)
    outputs = made.run(pixels)
    assert (outputs.logits.device, outputs.embedding.device.type, outputs.features.device.type) == (CPU, "cuda", "cuda")
    for one, other in zip(outputs, expected, strict=True):
        assert float((one.cpu() - other).norm() / other.norm()) < bound
    maps = made.activation_maps(outputs.features[1], range(5))
    assert (maps.device, maps.dtype) == (CPU, torch.float32)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), outputs.logits[1], atol=1e-4, rtol=bound)


def test_auto_is_inductor_in_bfloat16(loaded: model.LoadedModel) -> None:
    made = engine.create(loaded, HandlerConfig(batch_buckets=(1,)), device=CUDA)
    assert (made.backend, made.dtype) == ("inductor", "bfloat16")


def test_out_of_memory_on_the_device_splits_the_batch_and_answers(loaded: model.LoadedModel) -> None:
    made = engine.create(loaded, HandlerConfig(backend="eager", batch_buckets=(1, 2)), device=CUDA)
    run, sizes = made.run, []

    def greedy(pixels: torch.Tensor) -> Outputs:
        sizes.append(len(pixels))
        if len(pixels) > 1:
            torch.empty(torch.cuda.get_device_properties(0).total_memory * 2, dtype=torch.uint8, device=CUDA)
        return run(pixels)

    made.run = greedy  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        pipeline = Pipeline(Decoder(loaded.data_config, max_pixels=10**6), made, pool)
        image = pictures.encoded(pictures.gradient(), "PNG")
        asked = Request((image, image), top_k=1, embedding=True, class_activation_map=True)
        [results] = pipeline.classify([asked], Facts(0.0))
    assert sizes == [2, 1, 1]
    assert all(isinstance(result, Predictions) for result in results)
    assert [result.embedding.device for result in results] == [CPU, CPU]
    assert [result.activation_maps.maps.shape for result in results] == [(1, 8, 8)] * 2


def test_a_lost_cuda_context_ends_the_worker() -> None:
    result = subprocess.run([sys.executable, "-c", LOSE_THE_CONTEXT], capture_output=True, text=True, timeout=120)
    assert result.returncode == STICKY_EXIT
    assert "still alive" not in result.stdout
