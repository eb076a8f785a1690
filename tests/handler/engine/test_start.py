"""What an archive holds -> an engine, or a safe default that says why; made with the real backends of this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_handler import engine, model
from swin_handler.config import HandlerConfig, Manifest
from swin_handler.engine import backends, cpu, eager, machine
from swin_handler.engine.plan import Plan
from swin_handler.engine.probe import FILE, Probe
from swin_handler.engine.start import digest
from swin_handler.errors import BadArchive
from swin_handler.outputs import Outputs
from swin_handler.tuning import Record, Timing
from tests.handler.conftest import unpack
from tests.handler.engine.test_batches import noise

CPU = torch.device("cpu")
CONFIG = HandlerConfig(batch_buckets=(1, 2, 4))


@pytest.fixture
def loaded(unpacked: Path, manifest: Manifest) -> model.LoadedModel:
    return model.load(unpacked, manifest)


class Altered:
    """A backend named native whose file is checked and whose forward pass is eager's, changed."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor] = lambda values: values) -> None:
        self.change = change
        self.buckets: list[tuple[int, ...]] = []

    def refusal(self, _model: Any, _plan: Plan) -> str | None:
        return None

    def prepare(self, _model: Any, _plan: Plan, folder: Path) -> None:
        (folder / "code").write_bytes(b"compiled")

    def load(self, model: Any, plan: Plan, folder: Path) -> Any:
        assert (folder / "code").read_bytes() == b"compiled"
        self.buckets.append(plan.buckets)
        forward = next(iter(eager.load(model, plan, folder).values()))

        def run(pixels: torch.Tensor) -> Outputs:
            outputs = forward(pixels)
            return outputs._replace(logits=self.change(outputs.logits))

        return dict.fromkeys(plan.buckets, run)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Altered:
    made = Altered()
    monkeypatch.setitem(backends._CPU, "native", made)
    return made


@pytest.fixture
def prepared(loaded: model.LoadedModel, native: Altered, tmp_path: Path) -> tuple[Path, Record]:
    plan = Plan("", "float32", CONFIG.batch_buckets, CPU, 2)
    record = engine.tune(loaded, plan, tmp_path, candidates=("native",), timed=False, progress=lambda _text: None)
    assert set(record.files) == {FILE, "native/code"}
    return tmp_path, record


def start(loaded: model.LoadedModel, prepared: tuple[Path, Record], **changes: Any) -> engine.BatchEngine:
    folder, record = prepared
    return engine.load(loaded, folder, record, config=replace(CONFIG, **changes), device=CPU, threads=2)


def test_a_start_loads_what_was_chosen(loaded: model.LoadedModel, prepared: Any, native: Altered) -> None:
    made = start(loaded, prepared)
    assert (made.backend, made.dtype, made.note) == ("native", "float32", "")
    assert native.buckets[-1] == (1, 2, 4)


def test_each_bucket_gets_its_choice(loaded: model.LoadedModel, prepared: Any, native: Altered) -> None:
    folder, record = prepared
    made = start(loaded, (folder, replace(record, choice={1: "eager", 2: "native", 4: "native"})))
    assert (made.backend, made.note, native.buckets[-1]) == ("eager+native", "", (2, 4))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threads": 16}, "threads 16, here 2"),
        ({"hardware": "avx1024"}, "hardware avx1024, here"),
        ({"torch": "9.9"}, "torch 9.9, here"),
        ({"device": "cuda"}, "device cuda, here cpu"),
    ],
)
def test_a_record_of_another_machine_gives_the_safe_default_and_a_warning(
    loaded: model.LoadedModel, prepared: Any, caplog: pytest.LogCaptureFixture, change: dict[str, Any], told: str
) -> None:
    folder, record = prepared
    elsewhere = replace(
        record,
        machine=replace(record.machine, **change),
        choice=dict.fromkeys((1, 2, 4), "inductor"),
        timings=(Timing("inductor", 1, 1e-3, 1e-3, 1e-6),),
    )
    with caplog.at_level(logging.WARNING):
        made = start(loaded, (folder, elsewhere))
    assert made.backend == "native", "its file is there and fits"
    assert told in made.note
    assert f"a safe default serves: {made.note}" in caplog.text


def elsewhere(record: Record, backend: str) -> Record:
    return replace(record, machine=replace(record.machine, threads=16), choice=dict.fromkeys((1, 2, 4), backend))


def test_a_safe_default_that_was_never_timed_is_as_good_on_another_machine(
    loaded: model.LoadedModel, prepared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As in an image, which is seldom built where it serves."""
    folder, record = prepared
    with caplog.at_level(logging.WARNING):
        made = start(loaded, (folder, elsewhere(record, "native")))
    assert (made.backend, made.note, caplog.text) == ("native", "", "")


def test_where_a_better_default_could_run_but_was_not_compiled_the_log_alone_says_so(
    loaded: model.LoadedModel,
    prepared: Any,
    native: Altered,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An image that was built without AVX-512 and serves with it: eager is what it promised."""

    def absent(*_: Any) -> Any:
        raise engine.BackendFailed("it is not in this archive")

    monkeypatch.setattr(native, "load", absent)
    folder, record = prepared
    made = start(loaded, (folder, elsewhere(record, "eager")))
    assert (made.backend, made.note) == ("eager", "")
    assert "native: it is not in this archive" in caplog.text
    assert "nothing was timed for this machine, swinserve tune does it: " in caplog.text
    assert "threads 16, here 2" in caplog.text


def on_a_gpu(record: Record) -> Record:
    """As where the CPU is the other kind of device: an image that no GPU was there to build, on a GPU."""
    return replace(record, machine=replace(record.machine, device="cuda"), choice=dict.fromkeys((1, 2, 4), "graphs"))


def test_on_another_kind_of_device_the_best_default_is_no_fallback_where_nothing_was_timed(
    loaded: model.LoadedModel, prepared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder, record = prepared
    made = start(loaded, (folder, on_a_gpu(record)))
    assert (made.backend, made.note) == ("native", "")
    assert "nothing was timed for this machine" in caplog.text
    assert "it was built elsewhere (device cuda, here cpu)" in caplog.text


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_auto_means_what_it_means_on_the_device_that_serves(
    loaded: model.LoadedModel, prepared: Any, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
) -> None:
    monkeypatch.setattr(cpu, "has_bfloat16", lambda: has_bfloat16)
    here, built = ("bfloat16", "float32") if has_bfloat16 else ("float32", "bfloat16")
    folder, record = prepared
    made = start(loaded, (folder, replace(on_a_gpu(record), dtype=built)))
    assert (made.backend, made.dtype, made.note) == ("native", here, "")


def test_but_a_worse_default_is(loaded: model.LoadedModel, prepared: Any) -> None:
    folder, record = prepared
    (folder / "native/code").write_bytes(b"c0mpiled")
    made = start(loaded, (folder, on_a_gpu(record)))
    assert made.backend == "eager"
    assert "device cuda, here cpu" in made.note


def test_a_changed_file_is_never_loaded(loaded: model.LoadedModel, prepared: Any, native: Altered) -> None:
    loads = len(native.buckets)
    (prepared[0] / "native/code").write_bytes(b"c0mpiled")
    made = start(loaded, prepared)
    assert (made.backend, len(native.buckets)) == ("eager", loads)
    assert "native/code was changed or damaged" in made.note


@pytest.mark.parametrize("case", ["gone", "unknown"])
def test_missing_and_foreign_files_are_named(loaded: model.LoadedModel, prepared: Any, case: str) -> None:
    folder = prepared[0]
    if case == "gone":
        (folder / "native/code").unlink()
    else:
        (folder / "native/more").write_bytes(b"")
    made = start(loaded, prepared)
    assert made.backend == "eager"
    assert {"gone": "native/code: missing", "unknown": "native/more: missing, or not of this archive"}[
        case
    ] in made.note


@pytest.mark.parametrize("change", [lambda logits: logits * 1.001, lambda logits: logits * float("nan")])
def test_a_backend_that_answers_differently_does_not_serve(
    loaded: model.LoadedModel, prepared: Any, native: Altered, change: Any
) -> None:
    native.change = change
    made = start(loaded, prepared)
    assert made.backend == "eager"
    assert "its answers at batch 1 differ: relative L2" in made.note


def test_what_the_user_asks_for_needs_no_record(loaded: model.LoadedModel, prepared: Any) -> None:
    made = start(loaded, prepared, backend="eager", dtype="bfloat16", batch_buckets=(3,))
    assert (made.backend, made.dtype, made.buckets, made.note) == ("eager", "bfloat16", (3,), "")


def test_a_backend_asked_for_that_was_not_compiled_is_said_and_survived(
    loaded: model.LoadedModel, prepared: Any
) -> None:
    made = start(loaded, prepared, backend="inductor")
    assert (made.backend, made.dtype) == ("native", "float32")
    assert made.note.startswith("inductor: ")


@pytest.mark.parametrize(
    ("change", "told"),
    [({"batch_buckets": (1, 16)}, "not tuned for batch 16"), ({"dtype": "bfloat16"}, "tuned in float32, not bfloat16")],
)
def test_a_changed_configuration_gets_the_safe_default(
    loaded: model.LoadedModel, prepared: Any, change: dict[str, Any], told: str
) -> None:
    made = start(loaded, prepared, **change)
    assert told in made.note
    assert made.buckets == change.get("batch_buckets", (1, 2, 4))
    assert made.dtype == change.get("dtype", "float32")


def test_without_the_probe_nothing_can_be_trusted(loaded: model.LoadedModel, prepared: Any) -> None:
    (prepared[0] / FILE).write_bytes(b"?")
    with pytest.raises(BadArchive, match=f"{FILE} was changed or damaged"):
        start(loaded, prepared)
    (prepared[0] / FILE).unlink()
    with pytest.raises(BadArchive, match=f"{FILE} cannot be read"):
        start(loaded, prepared)


def test_if_not_even_eager_answers_rightly_the_start_fails(loaded: model.LoadedModel, prepared: Any) -> None:
    folder, record = prepared
    probe = Probe.of(loaded)
    replace(probe, expected=probe.expected + 1).write(folder)
    files = {**record.files, FILE: digest(folder / FILE)}
    with pytest.raises(BadArchive, match="no backend runs this model here"):
        start(loaded, (folder, replace(record, files=files)))


def test_auto_without_an_archive_is_the_first_safe_default_that_works(
    loaded: model.LoadedModel, native: Altered
) -> None:
    made = engine.build(loaded, device=CPU, buckets=(2,))
    assert (made.backend, made.dtype) == ("native", backends.dtype(CPU))
    native.change = torch.zeros_like
    made = engine.build(loaded, device=CPU, dtype="float32", buckets=(2,))
    assert made.backend == "eager"
    with pytest.raises(engine.BackendFailed, match="native: its answers at batch 2 differ"):
        engine.build(loaded, device=CPU, dtype="float32", buckets=(2,), backend="native")


def test_a_real_archive_starts_as_it_was_built(tiny_archive: Path, tmp_path: Path) -> None:
    folder = unpack(tiny_archive, tmp_path)
    manifest = Manifest.read(folder)
    loaded = model.load(folder, manifest)
    threads = manifest.engine.machine.threads
    assert manifest.engine.machine == machine.current(CPU, threads)
    config = replace(CONFIG, backend="eager")
    made = engine.load(loaded, folder / engine.FOLDER, manifest.engine, config=config, device=CPU, threads=threads)
    assert (made.note, made.dtype) == ("", manifest.engine.dtype)
    assert made.run(noise(3)).logits.shape == (3, 5)


def test_a_model_that_cannot_run_in_float64_is_its_own_measure(loaded: model.LoadedModel) -> None:
    exact = Probe.of(loaded).expected

    def only_float32(_module: Any, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].dtype == torch.float64:
            raise RuntimeError("expected scalar type Float but found Double")

    loaded.module.register_forward_pre_hook(only_float32)
    loaded.module.patch_embed.register_forward_pre_hook(only_float32)  # type: ignore[union-attr]
    own = Probe.of(loaded).expected
    assert not torch.equal(own, exact)
    torch.testing.assert_close(own, exact, atol=1e-5, rtol=1e-5)
