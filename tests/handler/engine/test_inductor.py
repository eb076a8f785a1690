"""AOTInductor: what it compiles is loaded without a compiler and answers as the model does."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_handler.engine import inductor
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.plan import Plan
from tests.handler import small_models
from tests.handler.engine.answers import SIZE, assert_answers_as, noise, small
from tests.handler.test_abilities import NoHalves

CPU = torch.device("cpu")
SWIN = "swin_tiny_patch4_window7_224"
BOUND = {"float32": 1e-5, "bfloat16": 2e-2}


def plan(dtype: str = "float32", buckets: Sequence[int] = (2,)) -> Plan:
    return Plan("inductor", dtype, tuple(buckets), CPU, threads=2)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only. Temporary files are beside it, but for the compiler's precompiled headers, which all share."""
    importlib.import_module("torch._inductor.codecache")  # which asks now where those are
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "scratch").mkdir()
        patch.setattr(tempfile, "tempdir", str(folder / "scratch"))
        (folder / "inductor").mkdir()
        inductor.prepare(small(SWIN), plan(), folder / "inductor")
    return folder / "inductor"


def test_it_loads_without_a_compiler_and_answers_as_the_model(monkeypatch: pytest.MonkeyPatch, compiled: Path) -> None:
    monkeypatch.setenv("PATH", "")
    forwards = inductor.load(small(SWIN), plan(), compiled)
    assert forwards.keys() == {2}
    outputs = forwards[2](noise(2))
    assert_answers_as(small(SWIN), outputs, noise(2), BOUND["float32"])
    kept = outputs.logits.clone()
    forwards[2](torch.zeros_like(noise(2)))
    assert torch.equal(outputs.logits, kept)


def test_nothing_but_the_library_stays_on_the_disk(compiled: Path) -> None:
    assert [path.name for path in compiled.iterdir()] == ["batch_2.so"]
    weights = sum(parameter.numel() * 4 for parameter in small(SWIN).module.parameters())
    assert (compiled / "batch_2.so").stat().st_size < 2 * weights + 2_000_000
    assert not list((compiled.parent / "scratch").iterdir())


@pytest.mark.parametrize(
    "damage",
    [lambda whole: whole[:-4096], lambda whole: whole[:40], lambda whole: b"", lambda whole: b"MZ" + whole[2:]],
    ids=["cut short", "cut in its header", "empty", "another kind of file"],
)
def test_a_damaged_library_is_not_loaded(compiled: Path, tmp_path: Path, damage) -> None:
    (tmp_path / "batch_2.so").write_bytes(damage((compiled / "batch_2.so").read_bytes()))
    with pytest.raises(BackendFailed, match="damaged"):
        inductor.load(small(SWIN), plan(), tmp_path)


def test_a_library_of_something_else_is_not_loaded(tmp_path: Path) -> None:
    import _ctypes  # a shared library that every Python has

    (tmp_path / "batch_2.so").write_bytes(Path(_ctypes.__file__).read_bytes())
    with pytest.raises(BackendFailed, match="cannot be loaded"):
        inductor.load(small(SWIN), plan(), tmp_path)


def test_a_bucket_that_was_not_compiled_is_named(compiled: Path) -> None:
    with pytest.raises(BackendFailed, match=r"batch_4\.so cannot be read: No such file"):
        inductor.load(small(SWIN), plan(buckets=(2, 4)), compiled)


def test_without_a_compiler_nothing_is_prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BackendFailed, match=r"no C\+\+ compiler"):
        inductor.prepare(small(SWIN), plan(), tmp_path)


def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path: Path) -> None:
    class Undecided(NoHalves):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x)
            return logits if logits.sum() > 0 else -logits

    with pytest.raises(BackendFailed, match="cannot compile batch 2: ") as refused:
        inductor.prepare(small_models.loaded(Undecided().eval(), SIZE), plan(), tmp_path)
    assert "\n" not in str(refused.value)


def test_it_refuses_what_it_is_not_for() -> None:
    model = small(SWIN)
    assert inductor.refusal(model, plan()) is None
    assert inductor.refusal(model, plan("bfloat16")) is None
    assert inductor.refusal(model, plan("int8")) == "it has no int8"
    assert inductor.refusal(model, replace(plan(), device=torch.device("cuda"))) == "its packages are for the CPU"


class Doubled(NoHalves):
    """Calls an operator that has no C interface."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.swinserve_tests.doubled(super().forward(x))


@pytest.mark.slow
def test_a_model_that_calls_an_operator_of_ones_own_is_served(tmp_path: Path) -> None:
    @torch.library.custom_op("swinserve_tests::doubled", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    doubled.register_fake(torch.empty_like)
    model = small_models.loaded(Doubled().eval(), SIZE)
    inductor.prepare(model, plan(), tmp_path)
    assert_answers_as(model, inductor.load(model, plan(), tmp_path)[2](noise(2)), noise(2), BOUND["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", [*small_models.MAPPED, *small_models.UNMAPPED])
def test_every_family_answers_as_the_model(tmp_path: Path, name: str, dtype: str) -> None:
    model = small(name)
    inductor.prepare(model, plan(dtype), tmp_path)
    outputs = inductor.load(model, plan(dtype), tmp_path)[2](noise(2))
    assert outputs.logits.dtype == torch.float32
    assert outputs.embedding is not None
    assert outputs.embedding.dtype == getattr(torch, dtype)
    assert_answers_as(model, outputs, noise(2), BOUND[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("without", ["head", "halves"])
def test_a_model_that_gives_less_gives_that(tmp_path: Path, without: str) -> None:
    model = small(SWIN, classes=0) if without == "head" else small_models.loaded(NoHalves().eval(), SIZE)
    inductor.prepare(model, plan(buckets=(1, 2)), tmp_path)
    forwards = inductor.load(model, plan(buckets=(1, 2)), tmp_path)
    for bucket in (1, 2):
        assert_answers_as(model, forwards[bucket](noise(bucket)), noise(bucket), BOUND["float32"])
