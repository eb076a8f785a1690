"""Locust against wrk: both load the same service over REST, in turns -> CSV. They should agree within 10 %.

`make bench-crosscheck` runs it; it takes some minutes. Both have the same number of connections, a closed loop on
each, and one image. The model is slow enough that the service is the limit and not the load generator.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table
from running import RESULTS, SAMPLES, build, serving, write

HERE = Path(__file__).resolve().parent
IMAGE = next(path for path in SAMPLES if path.suffix == ".jpg")


@dataclass(frozen=True)
class Round:
    generator: str
    round: int
    per_second: float
    p50_seconds: float
    p99_seconds: float
    errors: int


def wrk(url: str, number: int, *, connections: int, seconds: int) -> Round:
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", "30s", "--script", str(HERE / "classify.lua"), f"{url}/v1/classify"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"IMAGE": str(IMAGE)})
    found = json.loads(done.stdout.splitlines()[-1])
    per_second = found["requests"] / found["duration"] * 1e6
    return Round("wrk", number, per_second, found["p50"] / 1e6, found["p99"] / 1e6, found["errors"])


def locust(url: str, number: int, *, connections: int, seconds: int) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "locust", "--locustfile", str(HERE / "locustfile.py"), "--headless"]
        command += ["--host", url, "--users", str(connections), "--spawn-rate", str(connections), "--reset-stats"]
        command += ["--run-time", f"{seconds}s", "--csv", f"{folder}/x", "--only-summary", "--loglevel", "WARNING"]
        command += ["--image", str(IMAGE), "--any-label", "RestUser", "--tags", "good"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        with Path(folder, "x_stats.csv").open() as file:
            (row,) = [row for row in csv.DictReader(file) if row["Name"] == "classify"]
    p50, p99 = (round(float(row[name]) / 1000, 4) for name in ("Median Response Time", "99%"))
    return Round("locust", number, float(row["Requests/s"]), p50, p99, int(row["Failure Count"]))


def report(rounds: Sequence[Round]) -> tuple[Table, bool]:
    """The medians side by side, and whether the two generators disagree."""
    table = Table("", "images /s", "p50 ms", "p99 ms", "errors", title="medians of the rounds")
    medians = {}
    for name in ("wrk", "locust"):
        mine = [each for each in rounds if each.generator == name]
        found = [statistics.median(getattr(each, what) for each in mine) for what in FIGURES]
        medians[name] = found
        shown = (f"{found[0]:.2f}", *(f"{1000 * each:.1f}" for each in found[1:]))
        table.add_row(name, *shown, str(sum(each.errors for each in mine)))
    ratios = [ours / theirs for ours, theirs in zip(medians["locust"], medians["wrk"], strict=True)]
    table.add_row("locust / wrk", *(f"{ratio:.3f}" for ratio in ratios), "")
    apart = any(abs(ratio - 1) > AGREEMENT for ratio in ratios[:2]) or any(each.errors for each in rounds)
    return table, apart


FIGURES = ("per_second", "p50_seconds", "p99_seconds")
AGREEMENT = 0.1
"""Of throughput and p50; p99 of some hundred calls is too few to hold against each other."""


@click.command()
@click.option("--model", default="swin_tiny_patch4_window7_224", show_default=True)
@click.option("--connections", default=16, show_default=True)
@click.option("--seconds", default=15, show_default=True, help="of each round")
@click.option("--rounds", default=5, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(model: str, connections: int, seconds: int, rounds: int, output: Path) -> None:
    """Compare two load generators on one service."""
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed; Debian and Ubuntu have it: apt-get install wrk")
    options = [] if model == "swin_digits" else ["--random-weights", "--no-tune"]
    with tempfile.TemporaryDirectory() as folder, serving(build(model, Path(folder), *options)) as service:
        wrk(service.http, 0, connections=connections, seconds=5)  # the first seconds after a start are slower
        found = [
            generator(service.http, number, connections=connections, seconds=seconds)
            for number in track(range(1, rounds + 1), "rounds")
            for generator in (wrk, locust)
        ]
    table, apart = report(found)
    Console(width=100).print(table)
    print(write([asdict(each) for each in found], "crosscheck", output))
    sys.exit(apart and "they do not agree: throughput and p50 within 10 %, no errors")


if __name__ == "__main__":
    main()
