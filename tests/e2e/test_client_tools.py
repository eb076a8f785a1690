"""The commands around a service, and the archive without one, beside the real service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import swinserve
from swin_handler.offline import OfflineModel
from tests.e2e.documented import ROOT
from tests.e2e.running import SWINSERVE, Running


def test_the_archive_in_a_process_of_ones_own_answers_exactly_as_the_service(
    shared: Running, store: Path, samples: dict[Path, str]
) -> None:
    offline = OfflineModel(store / "swin_digits-1.0.mar")
    ours = offline.classify([path.read_bytes() for path in samples])
    with swinserve.Client(shared.grpc) as client:
        theirs = client.classify_many(list(samples)).results
    for one, other in zip(ours, theirs, strict=True):
        assert [offline.labels[index] for index in one.indices] == [each.label for each in other.predictions]
        assert list(one.scores) == [each.score for each in other.predictions]


def test_the_python_of_the_howto_runs(store: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/howto/millions-of-images.md").read_text(), re.DOTALL)
    here = block.replace("model_store/swin_digits-1.0.mar", str(store / "swin_digits-1.0.mar"))
    assert here != block
    done = subprocess.run([sys.executable, "-c", here], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    samples = sorted((ROOT / "model_store/swin_digits/samples").iterdir())
    assert [line.split()[0] for line in done.stdout.splitlines()] == [path.name.split("-")[0] for path in samples]


def test_bench_measures_a_real_service(shared: Running, digit: Path) -> None:
    command = [SWINSERVE, "bench", shared.http, digit, "--seconds", "0.5", "--warm-up", "0", "--json"]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (facts["model"], facts["failed"]) == ("swin_digits", 0)
    assert facts["images"] >= facts["concurrency"]
    stages = [facts[f"{stage}_p50_seconds"] for stage in ("queue", "batch_wait", "decode", "inference", "rest")]
    assert min(stages) > 0
    assert facts["call_p50_seconds"] > max(stages)


def test_doctor_finds_the_archive_good_and_the_service_that_runs(shared: Running, store: Path) -> None:
    port = {f"SWINSERVE_{name.upper()}_PORT": getattr(shared, name).rpartition(":")[2] for name in ("http", "grpc")}
    metrics = {"SWINSERVE_METRICS_PORT": shared.metrics.removesuffix("/metrics").rpartition(":")[2]}
    command = [SWINSERVE, "doctor", "--model-store", store, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | port | metrics)
    checks = {check["what"]: check for check in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, checks
    assert checks["engine of swin_digits@1.0"]["found"].endswith("answers rightly; no backend was timed")
    for name in ("REST", "gRPC", "metrics"):
        assert (checks[f"{name} port"]["verdict"], "a service runs here" in checks[f"{name} port"]["found"]) == (
            "warn",
            True,
        )
