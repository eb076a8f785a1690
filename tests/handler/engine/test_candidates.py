"""Timing the backends: only right ones, in turns, for each batch bucket."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_handler import engine, model
from swin_handler.config import Manifest
from swin_handler.engine import backends, eager
from swin_handler.engine import candidates as tuning
from swin_handler.engine.errors import BackendFailed
from swin_handler.engine.plan import Plan
from swin_handler.outputs import Outputs
from swin_handler.tuning import Record, Timing

CPU = torch.device("cpu")


class Slow:
    """eager's answers; batches that are not its strength take longer."""

    def __init__(self, good_at: int, reason: str | None = None, failure: str = "", answer: str = "right") -> None:
        self.good_at, self.reason, self.failure, self.answer = good_at, reason, failure, answer

    def refusal(self, _model: Any, _plan: Plan) -> str | None:
        return self.reason

    def prepare(self, _model: Any, _plan: Plan, folder: Path) -> None:
        if self.failure:
            raise BackendFailed(self.failure)
        (folder / "file").write_text("compiled")

    def load(self, model: Any, plan: Plan, folder: Path) -> Any:
        forward = next(iter(eager.load(model, plan, folder).values()))

        def run(pixels: torch.Tensor) -> Outputs:
            time.sleep(0 if len(pixels) == self.good_at else 0.2)
            if self.answer == "none":
                raise RuntimeError("out of luck")
            outputs = forward(pixels)
            return outputs._replace(logits=outputs.logits + 1) if self.answer == "wrong" else outputs

        return dict.fromkeys(plan.buckets, run)


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> dict[str, Slow]:
    made = {
        "small": Slow(1),
        "large": Slow(2),
        "slow": Slow(0),
        "absent": Slow(1, reason="it is not installed"),
        "broken": Slow(1, failure="no compiler"),
        "wrong": Slow(1, answer="wrong"),
        "crashing": Slow(1, answer="none"),
    }
    monkeypatch.setattr(backends, "_CPU", made)
    monkeypatch.setattr(tuning, "_ROUNDS", (2, 2))
    return made


def tuned(unpacked: Path, manifest: Manifest, folder: Path, names: Any, *, timed: bool = True) -> Record:
    plan = Plan("", "float32", (1, 2), CPU, 2)
    loaded = model.load(unpacked, manifest)
    return engine.tune(loaded, plan, folder, candidates=tuple(names), timed=timed, progress=lambda _text: None)


def test_the_fastest_right_backend_of_each_bucket_is_chosen_and_the_rest_is_removed(
    unpacked: Path, manifest: Manifest, candidates: dict[str, Slow], tmp_path: Path
) -> None:
    record = tuned(unpacked, manifest, tmp_path, candidates)
    assert record.choice == {1: "small", 2: "large"}
    assert {(timing.backend, timing.bucket) for timing in record.timings} == {
        (name, bucket) for name in ("small", "large", "slow") for bucket in (1, 2)
    }
    assert record.refused.keys() == {"absent", "broken", "wrong", "crashing"}
    assert record.refused["crashing"] == "its forward pass at batch 1 fails: out of luck"
    assert record.refused["absent"] == "it is not installed"
    assert "differ" in record.refused["wrong"]
    assert {path.name for path in tmp_path.iterdir()} == {"small", "large", "probe.safetensors"}
    assert set(record.files) == {"small/file", "large/file", "probe.safetensors"}


def test_untimed_the_first_that_answers_rightly_serves(
    unpacked: Path, manifest: Manifest, candidates: dict[str, Slow], tmp_path: Path
) -> None:
    record = tuned(unpacked, manifest, tmp_path, ("absent", "wrong", "slow", "small"), timed=False)
    assert (record.choice, record.timings) == ({1: "slow", 2: "slow"}, ())
    assert record.refused.keys() == {"absent", "wrong"}


def test_without_a_right_candidate_each_reason_is_told(
    unpacked: Path, manifest: Manifest, candidates: dict[str, Slow], tmp_path: Path
) -> None:
    with pytest.raises(BackendFailed, match="absent: it is not installed; broken: no compiler"):
        tuned(unpacked, manifest, tmp_path, ("absent", "broken"))


def test_a_later_backend_must_lead_by_more_than_noise() -> None:
    timings = [Timing("first", 1, 1.00, 1.0, 0), Timing("later", 1, 0.98, 1.0, 0), Timing("last", 1, 0.96, 1.0, 0)]
    assert tuning._choose(timings[:2], (1,)) == {1: "first"}
    assert tuning._choose(timings, (1,)) == {1: "last"}


def test_all_take_turns_and_equally_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_ROUNDS", (3, 3))
    seen: list[str] = []

    def forward(name: str) -> Any:
        return lambda _pixels: seen.append(name)

    taken = tuning.in_turns({name: forward(name) for name in "abc"}, torch.zeros(1))
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3, "c": 3}
    rounds = [set(seen[index : index + 6]) for index in range(0, 18, 6)]
    assert rounds == [set("abc")] * 3
