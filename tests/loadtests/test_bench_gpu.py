"""The benchmark of a GPU machine, run as a person runs it, here on the CPU with tiny models."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A GPU machine need have nothing of the project installed but torch, timm and triton, and what those need.
RUN = """
import runpy, sys
from pathlib import Path
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
for name in ("grpc", "google.protobuf", "fastapi", "pydantic", "safetensors.numpy", "swin_proto", "swinserve",
             "swin_gateway", "psutil", "structlog", "ts"):
    sys.modules[name] = None
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_benchmark_writes_a_row_for_every_candidate_and_says_why_one_failed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(ROOT / "loadtests" / "bench_gpu.py")]
    options = ["--device", "cpu", "--smoke", "--output", str(tmp_path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*-bfloat16.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    by_name = {(row["model"], row["batch"], row["candidate"]): row for row in rows}
    failed = {name for name, row in by_name.items() if row["note"]}
    assert failed == {("Swin-T", "2", f"ours, sdpa, {kernel}, eager") for kernel in ("efficient", "cudnn")}
    assert len(by_name) == len(rows) == 11
    for name in by_name.keys() - failed:
        assert float(by_name[name]["best_ms"]) > 0
        assert float(by_name[name]["relative_l2"]) < 0.02
        assert not math.isnan(float(by_name[name]["median_images_per_second"]))
    assert "ours / timm compiled" in done.stdout
    assert str(path) in done.stdout
