"""The backends on a GPU as far as they can be seen without one: here their networks run on the CPU, uncaptured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_handler.engine import BackendFailed, cuda
from swin_handler.engine.cuda_attention import ATTENTIONS, attend
from swin_handler.engine.cuda_graph import CapturedForward
from swin_handler.engine.in_flight import InFlight
from swin_handler.engine.plan import Plan
from swin_handler.engine.probe import Probe, relative_l2
from swin_handler.model import LoadedModel
from swin_handler.models import inference
from swin_handler.models.inference import InferenceSwin
from swin_handler.outputs import Outputs
from tests.handler import small_models
from tests.handler.engine.lazy_stream import LazyStream

CPU = torch.device("cpu")
SWINS = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"]
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def loaded(name: str) -> LoadedModel:
    arguments, size, *_ = {**small_models.MAPPED, **small_models.UNMAPPED}[name]
    return small_models.loaded(small_models.classifier(name, arguments), size)


def plan(backend: str, *, dtype: str = "float32", buckets: tuple[int, ...] = (1, 4)) -> Plan:
    return Plan(backend, dtype, buckets, CPU, 1)


def form(model: LoadedModel, attention: str, dtype: torch.dtype = torch.float32) -> InferenceSwin:
    converted = inference.convert(model.module, mean=model.data_config["mean"], std=model.data_config["std"])
    assert converted is not None
    converted.round_to(dtype)
    return attend(converted, attention)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", SWINS)
def test_every_attention_answers_as_timm_does(name: str, attention: str) -> None:
    model = loaded(name)
    probe = Probe.of(model)
    for dtype, bound in probe.tolerance.items():
        if dtype != "int8":
            module = form(model, attention, getattr(torch, dtype))
            assert relative_l2(module(probe.pixels).answer, probe.expected) < bound


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", SWINS)
def test_torch_compile_takes_the_whole_network_with_every_attention(name: str, attention: str) -> None:
    model = loaded(name)
    probe = Probe.of(model)
    torch._dynamo.reset()
    # fullgraph: a graph break would be an error. The compiler behind it does not matter to that.
    compiled = torch.compile(form(model, attention), backend="aot_eager", fullgraph=True, dynamic=False)
    with torch.inference_mode():
        assert relative_l2(compiled(probe.pixels).answer, probe.expected) < probe.tolerance["float32"]


def test_a_bias_for_fused_attention_is_stored_in_aligned_rows() -> None:
    for block in form(loaded(SWINS[0]), "sdpa", torch.bfloat16).blocks():
        assert block.bias.dtype == torch.bfloat16
        assert all(stride % 16 == 0 for stride in block.bias.stride()[:-1])


@pytest.mark.parametrize("backend", cuda.WAYS)
def test_int8_is_refused(backend: str) -> None:
    assert cuda.refusal(loaded(SWINS[0]), plan(backend, dtype="int8")) == f"{backend} on a GPU has no int8"


@pytest.mark.parametrize("backend", ["triton", "inductor-sdpa", "inductor-flex"])
def test_a_model_without_windows_is_refused_by_what_differs_in_their_attention_alone(backend: str) -> None:
    reason = cuda.refusal(loaded("resnet18"), plan(backend))
    assert reason is not None
    assert "no Swin" in reason


@pytest.mark.parametrize("backend", cuda.WAYS)
def test_a_machine_without_a_device_is_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda.refusal(loaded(SWINS[0]), plan(backend)) == "no CUDA device is found here"


@pytest.mark.parametrize("backend", cuda.WAYS)
def test_without_a_compiler_only_what_compiles_is_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert cuda.refusal(loaded(SWINS[0]), plan(backend)) is None
    monkeypatch.setattr(shutil, "which", lambda name: None)
    reason = cuda.refusal(loaded(SWINS[0]), plan(backend))
    assert (reason is None) == (backend in ("graphs", "eager"))
    assert reason is None or "C compiler" in reason


@pytest.mark.parametrize("backend", ["triton", "inductor"])
def test_an_old_gpu_is_refused_by_what_compiles(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    reason = cuda.refusal(loaded(SWINS[0]), plan(backend))
    assert reason is not None
    assert "older than Ampere" in reason


@pytest.mark.parametrize("name", [*SWINS, "resnet18", "convnext_atto"])
def test_eager_answers_without_anything_prepared(name: str, tmp_path: Path) -> None:
    model = loaded(name)
    probe = Probe.of(model)
    cuda.prepare(model, plan("eager"), tmp_path)
    assert not any(tmp_path.iterdir())
    for bucket, forward in cuda.load(model, plan("eager"), tmp_path / "absent").items():
        probe.check(forward, bucket, "float32")


def capture(modules: Mapping[int, Any], image_size: Sequence[int], device: torch.device) -> dict[int, CapturedForward]:
    """As cuda_graph's, for a CPU: a replay runs the module, as late as it may."""
    largest = torch.Size((max(modules), *image_size, 3))
    shared = InFlight(largest, device, uploads=LazyStream(), computing=LazyStream())

    def captured(bucket: int) -> CapturedForward:
        outputs: Outputs = modules[bucket](shared.input[:bucket])

        def replay() -> None:
            for fixed, new in zip(outputs, modules[bucket](shared.input[:bucket]), strict=True):
                fixed.copy_(new)

        return CapturedForward(bucket, modules[bucket], replay, outputs, shared)

    with torch.inference_mode():
        return {bucket: captured(bucket) for bucket in modules}


@pytest.mark.parametrize("name", SWINS)
def test_a_captured_backend_answers_in_every_bucket(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "capture", capture)
    model = loaded(name)
    probe = Probe.of(model)
    forwards = cuda.load(model, plan("graphs", buckets=(1, 2, 4)), tmp_path)
    for bucket in (4, 1, 2, 1):
        probe.check(forwards[bucket], bucket, "float32")


def test_what_compiles_is_only_loaded_if_it_was_compiled_ahead(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BackendFailed, match="inductor was not compiled ahead"):
            cuda.load(loaded(SWINS[0]), plan("inductor"), folder)


def test_a_failed_capture_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    monkeypatch.setattr(cuda, "capture", fail)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    with pytest.raises(BackendFailed, match=r"^RuntimeError: operation not permitted when stream is capturing$"):
        cuda.load(loaded(SWINS[0]), plan("graphs"), tmp_path)


def test_a_lost_device_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(cuda, "capture", lose)
    monkeypatch.setattr(torch.cuda, "synchronize", lose)
    with pytest.raises(torch.AcceleratorError):
        cuda.load(loaded(SWINS[0]), plan("graphs"), tmp_path)


COMPILE = """
import sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from swin_handler.engine.cuda import caches_in
from tests.handler.engine.test_cuda import SWINS, form, loaded

block = next(form(loaded(SWINS[0]), "triton").blocks())
with caches_in(Path(sys.argv[1])), torch.inference_mode():
    torch.compile(block, fullgraph=True, dynamic=False)(torch.zeros(1, *block.size, block.proj.in_features))
print(counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_compiled_even_in_a_copy(tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    assert compiled_in(first) == "0 1"
    shutil.copytree(first, copy)
    shutil.rmtree(first)
    assert compiled_in(copy) == "1 0"


def compiled_in(folder: Path) -> str:
    """Cache hits and misses."""
    command = [sys.executable, "-c", COMPILE, str(folder)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=root, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_folders_of_the_caches_are_the_users_own_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "mine")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with cuda.caches_in(tmp_path):
        assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "triton")
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == "mine"
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
