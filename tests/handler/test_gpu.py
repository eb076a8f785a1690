"""The handler on a CUDA device: `make gpu` gathers these. CI has no device and deselects them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_handler import engine, model
from swin_handler.batch import Facts, Pipeline
from swin_handler.config import Manifest
from swin_handler.decode import Decoder
from swin_handler.engine import cuda
from swin_handler.engine.forward import Forward
from swin_handler.engine.plan import Plan
from swin_handler.engine.probe import relative_l2
from swin_handler.forward_pass import STICKY_EXIT
from swin_handler.kernels.window_attention import plain_window_attention, window_attention
from swin_handler.kernels.window_attention_flex import flex_window_attention
from swin_handler.kernels.window_attention_sdpa import sdpa_window_attention
from swin_handler.kernels.window_attention_triton import launch, schedules
from swin_handler.models.inference import Attention
from swin_handler.outputs import Outputs
from swin_handler.request import Request
from swin_handler.result import Predictions
from tests.handler import pictures, small_models
from tests.handler.kernels.window_attention_cases import CASES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("default"),  # compilers warn of what they chose
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
    buckets, ahead = (1,), 0
    padded = staticmethod(lambda size: 1)
    def start(self, pixels):
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


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("backend", [name for name in cuda.WAYS if name != "inductor-flex"])
def test_cuda_answers_as_the_cpu_does(loaded: model.LoadedModel, backend: str, dtype: str, bound: float) -> None:
    pixels = noise(3)
    expected = engine.build(loaded, device=CPU, dtype="float32", buckets=(4,), backend="eager").run(pixels)
    made = engine.build(loaded, device=CUDA, dtype=dtype, buckets=(2, 4), backend=backend)
    assert (made.backend, made.dtype) == (backend, dtype)
    outputs = made.run(pixels)
    assert (outputs.logits.device, outputs.embedding.device.type, outputs.features.device.type) == (CPU, "cuda", "cuda")
    for one, other in zip(outputs, expected, strict=True):
        assert relative_l2(one.cpu().float(), other) < bound
    maps = made.activation_maps(outputs.features[1], range(5))
    assert (maps.device, maps.dtype) == (CPU, torch.float32)
    assert relative_l2(maps.mean(dim=(1, 2)), outputs.logits[1]) < bound


@pytest.mark.parametrize("backend", ["inductor", "graphs", "eager"])
@pytest.mark.parametrize("name", ["swinv2_tiny_window8_256", "shunted_tiny", "resnet18", "vit_tiny_patch16_224"])
def test_other_models_answer_on_cuda_too(name: str, backend: str) -> None:
    arguments, size, *_ = {**small_models.MAPPED, **small_models.UNMAPPED}[name]
    other = small_models.loaded(small_models.classifier(name, arguments), size)
    # It answers rightly, or it is not built.
    made = engine.build(other, device=CUDA, buckets=(1, 2), backend=backend)
    assert (made.backend, made.dtype) == (backend, "bfloat16")


def test_flex_attention_answers_where_heads_are_as_wide_as_it_needs(loaded: model.LoadedModel) -> None:
    with pytest.raises(engine.BackendFailed, match="at least 16"):
        engine.build(loaded, device=CUDA, buckets=(1,), backend="inductor-flex")
    arguments = {"img_size": (64, 96), "embed_dim": 32, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4}
    wide = small_models.loaded(small_models.classifier("swin_tiny_patch4_window7_224", arguments), (64, 96))
    assert engine.build(wide, device=CUDA, buckets=(1, 2), backend="inductor-flex").backend == "inductor-flex"


def test_auto_is_a_safe_default_in_bfloat16(loaded: model.LoadedModel) -> None:
    made = engine.build(loaded, device=CUDA, buckets=(1,))
    assert (made.backend in ("graphs", "eager"), made.dtype) == (True, "bfloat16")


def forwards(loaded: model.LoadedModel, backend: str, *buckets: int) -> dict[int, Forward]:
    return cuda.load(loaded, Plan(backend, "float32", buckets, CUDA, 1), Path("absent"))


def test_a_cuda_graph_answers_as_the_same_network_without_one_in_every_bucket(loaded: model.LoadedModel) -> None:
    buckets = (1, 2, 4, 8)
    captured, plain = (forwards(loaded, backend, *buckets) for backend in ("graphs", "eager"))
    for bucket in (8, 1, 4, 2, 8):
        pixels = noise(bucket)
        for one, other in zip(captured[bucket](pixels), plain[bucket](pixels), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_batches_in_flight_do_not_mix_on_the_device(loaded: model.LoadedModel) -> None:
    captured = forwards(loaded, "graphs", 2, 8)
    batches = [noise(64)[start : start + size] for start, size in ((0, 8), (8, 2), (10, 8), (20, 8), (30, 2), (40, 8))]
    expected = [captured[len(pixels)](pixels) for pixels in batches]
    for _ in range(20):
        started = [captured[len(pixels)].start(pixels) for pixels in batches]
        for answer, right in zip(reversed(started), reversed(expected), strict=True):
            assert all(torch.equal(one, other) for one, other in zip(answer(), right, strict=True))


def test_a_batch_is_answered_after_one_that_ran_out_of_memory(loaded: model.LoadedModel) -> None:
    captured = forwards(loaded, "graphs", 2)[2]
    pixels = noise(2)
    expected = captured(pixels).logits

    def greedy() -> None:
        torch.empty(torch.cuda.get_device_properties(0).total_memory * 2, dtype=torch.uint8, device=CUDA)

    for _ in range(3):
        with pytest.raises(torch.OutOfMemoryError):
            replace(captured, replay=greedy)(torch.zeros_like(pixels))
        assert torch.equal(captured(pixels).logits, expected)


LOAD = """
import sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from swin_handler.engine import cuda
from swin_handler.engine.plan import Plan
from swin_handler import config, model

unpacked = Path(sys.argv[1])
loaded = model.load(unpacked, config.Manifest.read(unpacked))
cuda.load(loaded, Plan("inductor", "bfloat16", (1, 2), torch.device("cuda"), 1), Path(sys.argv[2]))
print(counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


def test_a_start_finds_compiled_what_was_compiled_ahead_and_leaves_it_as_it_was(
    loaded: model.LoadedModel, unpacked: Path, tmp_path: Path
) -> None:
    cuda.prepare(loaded, Plan("inductor", "bfloat16", (1, 2), CUDA, 1), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    command = [sys.executable, "-c", LOAD, str(unpacked), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.stdout.split() == ["2", "0"], done.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 3e-6), ("float16", 1e-3), ("bfloat16", 5e-3)])
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_equals_its_twin_on_the_device(name: str, dtype: str, bound: float) -> None:
    case = CASES[name]
    arguments = on_cuda(case.arguments(getattr(torch, dtype)))
    choices = schedules(case.window[0] * case.window[1])
    # Another one for each case: timing them all for each would take minutes.
    actual = launch(*arguments, schedule=choices[[*CASES].index(name) % len(choices)])
    assert relative_l2(actual.float(), twin(arguments)) < bound


@pytest.mark.parametrize("name", ["window 7, padded, shifted", "window 16, V2, shifted"])
def test_every_schedule_of_the_kernel_gives_the_same_numbers(name: str) -> None:
    case = CASES[name]
    arguments = on_cuda(case.arguments(torch.bfloat16))
    for schedule in schedules(case.window[0] * case.window[1]):
        assert relative_l2(launch(*arguments, schedule=schedule).float(), twin(arguments)) < 5e-3


@pytest.mark.parametrize("name", ["window 7, shifted", "window 12, V2, shifted"])
def test_the_operator_runs_the_kernel_alone_and_within_torch_compile(name: str) -> None:
    arguments = on_cuda(CASES[name].arguments(torch.bfloat16))
    assert relative_l2(window_attention(*arguments).float(), twin(arguments)) < 5e-3
    compiled = torch.compile(lambda *given: window_attention(*given) * 2, fullgraph=True, dynamic=False)
    assert relative_l2(compiled(*arguments).float(), 2 * twin(arguments)) < 5e-3


@pytest.mark.parametrize("attention", [sdpa_window_attention, flex_window_attention])
@pytest.mark.parametrize("name", ["window 7, padded, shifted", "window 8, V2, shifted", "window 12, tall, shifted"])
def test_the_other_attentions_equal_the_twin_when_compiled(name: str, attention: Attention) -> None:
    arguments = on_cuda(CASES[name].arguments(torch.bfloat16))
    compiled = torch.compile(attention, fullgraph=True, dynamic=False)
    assert relative_l2(compiled(*arguments).float(), twin(arguments)) < 2e-2  # a bias of −100 is rounded to bfloat16


def on_cuda(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.cuda() if torch.is_tensor(each) else each for each in arguments)


def twin(arguments: tuple[Any, ...]) -> torch.Tensor:
    """In float32, of the same rounded numbers."""
    return plain_window_attention(
        *(each.float() if torch.is_tensor(each) and each.is_floating_point() else each for each in arguments)
    )


def no_memory() -> None:
    torch.empty(torch.cuda.get_device_properties(0).total_memory * 2, dtype=torch.uint8, device=CUDA)


@pytest.mark.parametrize("when", ["started", "waited for"])
def test_out_of_memory_on_the_device_splits_the_batch_and_answers(loaded: model.LoadedModel, when: str) -> None:
    made = engine.build(loaded, device=CUDA, buckets=(1, 2), backend="graphs")
    start, sizes = made.start, []

    def greedy(pixels: torch.Tensor) -> Callable[[], Outputs]:
        sizes.append(len(pixels))
        if len(pixels) > 1 and when == "started":
            no_memory()
        answer = start(pixels)

        def waited() -> Outputs:
            if len(pixels) > 1:
                no_memory()
            return answer()

        return waited

    made.start = greedy  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        pipeline = Pipeline(Decoder(loaded.data_config, max_pixels=10**6), made, pool)
        image = pictures.encoded(pictures.gradient(), "PNG")
        asked = Request((image, image), top_k=1, embedding=True, class_activation_map=True)
        [results] = pipeline.classify([asked], Facts(0.0))
    assert sizes == [2, 1, 1]
    assert all(isinstance(result, Predictions) for result in results)
    assert [result.embedding.device for result in results] == [CPU, CPU]
    assert [result.activation_maps.maps.shape for result in results] == [(1, 8, 8)] * 2


def test_a_batch_in_parts_is_answered_as_each_image_alone(loaded: model.LoadedModel) -> None:
    made = engine.build(loaded, device=CUDA, buckets=(1, 8, 16, 32), backend="graphs")
    assert made.ahead == 8
    images = [pictures.encoded(pictures.gradient().rotate(11 * turn), "PNG") for turn in range(27)]
    with ThreadPoolExecutor(4) as pool:
        pipeline = Pipeline(Decoder(loaded.data_config, max_pixels=10**6), made, pool)
        [together] = pipeline.classify([Request(tuple(images), top_k=5)], Facts(0.0))
        alone = [pipeline.classify([Request((image,), top_k=5)], Facts(0.0))[0][0] for image in images]
    assert [result.indices for result in together] == [result.indices for result in alone]


def test_a_lost_cuda_context_ends_the_worker() -> None:
    result = subprocess.run([sys.executable, "-c", LOSE_THE_CONTEXT], capture_output=True, text=True, timeout=120)
    assert result.returncode == STICKY_EXIT
    assert "still alive" not in result.stdout
