"""The benchmark of a GPU machine, run as a person runs it, here on the CPU with tiny models."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OWN = ("gpu_candidates", "gpu_figures", "swin_handler")
"""Imported by path."""
# A GPU machine need have nothing of the project installed but torch, timm and triton, and what those need.
RUN = """
import runpy, sys, sysconfig
from pathlib import Path

class Bare:
    def __init__(self, there):
        self.there, self.finders = there, [*sys.meta_path]

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.there:
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in self.finders)), None)

sys.argv = sys.argv[1:]
sysconfig.get_config_vars()  # imports a module of the standard library whose name depends on the platform
there = {*sys.argv.pop(0).split(","), *sys.stdlib_module_names}
# What measures coverage is there before, if anything is.
sys.meta_path[:] = [Bare(there | {name.partition(".")[0] for name in sys.modules})]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def needed(*packages: str) -> set[str]:
    """Those packages and all that they need here, under the names that they are imported by."""
    needs: set[str] = set()
    left = [*packages]
    while left:
        if (name := canonicalize_name(left.pop())) in needs:
            continue
        needs.add(name)
        required = map(Requirement, metadata.requires(name) or ())
        left += [each.name for each in required if not each.marker or each.marker.evaluate({"extra": ""})]
    imported = metadata.packages_distributions()
    return {module for module, of in imported.items() if any(canonicalize_name(each) in needs for each in of)}


def test_what_the_benchmark_may_import_leaves_out_what_only_the_service_needs() -> None:
    there = needed("torch", "timm", "triton")
    assert {"torch", "timm", "triton", "numpy", "safetensors"} <= there
    assert not there & {
        "fastapi", "google", "grpc", "openvino", "platformdirs", "prometheus_client", "psutil", "pydantic", "structlog",
        "swin_gateway", "swin_handler", "swin_proto", "swinserve", "ts", "uvicorn",
    }  # fmt: skip


def test_the_benchmark_writes_a_row_for_every_candidate_and_says_why_one_failed(tmp_path: Path) -> None:
    there = ",".join({*needed("torch", "timm", "triton"), *OWN})
    command = [sys.executable, "-c", RUN, there, str(ROOT / "loadtests" / "bench_gpu.py")]
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
