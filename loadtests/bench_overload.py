"""More load than the service can take: what it still answers, how late, and how fast it refuses the rest -> CSV, plot.

`make bench-overload` runs it; it takes some minutes. The worker gets half of the cores for itself; the gateway,
TorchServe and the load generator share the rest. Callers have machines of their own, and calls that are refused here
would slow the worker down.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import grpc.aio
import psutil
from open_loop import OK, SHED, Call, grpc_call, open_loop, percentile
from rich.console import Console
from rich.progress import track
from rich.table import Table
from running import RESULTS, SAMPLES, Service, build, serving, write

WARM_SECONDS = 3.0
"""Of each step, not counted: until the queue has its length."""


@dataclass(frozen=True)
class Step:
    share: float
    """Of the capacity, offered."""
    offered: float
    """Images a second; of these"""
    goodput: float
    """were answered within the deadline,"""
    shed: float
    """were refused, and"""
    failed: float
    """ended otherwise."""
    p50_seconds: float
    """Of all that was not refused."""
    p99_seconds: float
    refusal_p50_seconds: float
    refusal_p99_seconds: float
    late_p99_seconds: float
    """The load generator's own lateness, part of all of these."""
    gateway_mb: float
    """Resident memory when the step ended."""
    jvm_mb: float
    worker_mb: float


async def capacity(call: Call, *, seconds: float, good: Collection[str] = (OK,)) -> float:
    """Images a second of a closed loop of 32 callers; `good` are the outcomes that count."""
    done, end = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            if await call() in good:
                done += 1
            else:
                await asyncio.sleep(0.1)  # to ask again at once would measure how fast it refuses

    await asyncio.gather(*(caller() for _ in range(32)))
    return done / seconds


async def run(service: Service, shares: Sequence[float], *, seconds: float, timeout: float) -> list[Step]:
    processes = service.processes()
    async with grpc.aio.insecure_channel(service.grpc.removeprefix("grpc://")) as channel:
        call = grpc_call(channel, SAMPLES[0].read_bytes(), timeout=timeout)
        patient = grpc_call(channel, SAMPLES[0].read_bytes(), timeout=30)
        await capacity(patient, seconds=WARM_SECONDS)
        most = await capacity(patient, seconds=seconds)
        steps = []
        for share in track(shares, "steps"):
            ended = await open_loop(call, rate=share * most, seconds=WARM_SECONDS + seconds)
            counted = [each for each in ended if each.due >= WARM_SECONDS]
            count = Counter(each.outcome for each in counted)
            # Late for whoever asked counts as failed, however it ended.
            good = [each.seconds for each in counted if each.outcome == OK and each.seconds <= timeout]
            accepted = [each.seconds for each in counted if each.outcome != SHED]
            shed = [each.seconds for each in counted if each.outcome == SHED]
            steps.append(
                Step(
                    share=share,
                    offered=len(counted) / seconds,
                    goodput=len(good) / seconds,
                    shed=len(shed) / seconds,
                    failed=(count.total() - len(good) - count[SHED]) / seconds,
                    p50_seconds=percentile(accepted, 0.5),
                    p99_seconds=percentile(accepted, 0.99),
                    refusal_p50_seconds=percentile(shed, 0.5),
                    refusal_p99_seconds=percentile(shed, 0.99),
                    late_p99_seconds=percentile([each.waited for each in counted], 0.99),
                    **{f"{name}_mb": process.memory_info().rss / 2**20 for name, process in processes.items()},
                )
            )
        return steps


def report(steps: Sequence[Step]) -> Table:
    headers = ("offered / capacity", "offered /s", "goodput /s", "shed /s", "failed /s", "p50 ms", "p99 ms")
    table = Table(*headers, "refusal p50 ms", "p99 ms", "gateway MB", "JVM MB", "worker MB")
    for step in steps:
        rates = (step.offered, step.goodput, step.shed, step.failed)
        seconds = (step.p50_seconds, step.p99_seconds, step.refusal_p50_seconds, step.refusal_p99_seconds)
        table.add_row(
            f"{step.share:.2f}",
            *(f"{rate:.1f}" for rate in rates),
            *(f"{1000 * each:.1f}" for each in seconds),
            *(f"{each:.0f}" for each in (step.gateway_mb, step.jvm_mb, step.worker_mb)),
        )
    return table


def draw(steps: Sequence[Step], picture: Path, *, timeout: float) -> None:
    """Goodput and p99 over the offered load. Raises ImportError when matplotlib is not installed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    offered = [step.offered for step in steps]
    above.plot(offered, [step.goodput for step in steps], "o-", label="answered in time")
    above.plot(offered, [step.shed for step in steps], "s--", label="refused")
    above.plot(offered, [step.failed for step in steps], "x:", label="failed otherwise")
    above.set_ylabel("images per second")
    above.legend()
    below.plot(offered, [1000 * step.p99_seconds for step in steps], "o-", label="p99 of what was not refused")
    below.plot(offered, [1000 * step.refusal_p99_seconds for step in steps], "s--", label="p99 of refusals")
    below.axhline(1000 * timeout, color="grey", linestyle=":", label="deadline")
    below.set_yscale("log")
    below.set_ylabel("milliseconds, from when it was due")
    below.set_xlabel("images per second offered, open loop")
    below.legend()
    figure.savefig(picture, dpi=150)


@contextmanager
def apart(archive: Path) -> Iterator[Service]:
    """A service whose worker has the first half of our cores, with the rest for everybody else, us included."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    os.sched_setaffinity(0, cores[:half])  # the worker inherits it, and counts its threads by it
    try:
        with serving(archive) as service:
            everybody = service.processes()
            for process in (everybody["gateway"], everybody["jvm"], psutil.Process()):
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, cores[half:] or cores)
            yield service
    finally:
        os.sched_setaffinity(0, cores)


@click.command()
@click.option("--model", default="swin_tiny_patch4_window7_224", show_default=True)
@click.option("--shares", default="0.5,0.8,0.95,1.1,1.5,2,3", show_default=True, help="of the capacity, offered")
@click.option("--seconds", default=15.0, show_default=True, help="of each step, besides its warm-up")
@click.option("--timeout", default=2.0, show_default=True, help="deadline of each call")
@click.option("--apart/--together", "separately", default=True, show_default=True, help="cores for the worker alone")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(model: str, shares: str, seconds: float, timeout: float, separately: bool, output: Path) -> None:
    """Measure the service under more load than it can take."""
    with tempfile.TemporaryDirectory() as folder:
        archive = build(model, Path(folder), "--random-weights", "--no-tune")
        with apart(archive) if separately else serving(archive) as service:
            asked = [float(share) for share in shares.split(",")]
            steps = asyncio.run(run(service, asked, seconds=seconds, timeout=timeout))
    Console(width=150).print(report(steps))
    path = write([asdict(step) for step in steps], "overload", output)
    draw(steps, path.with_suffix(".png"), timeout=timeout)
    print(path)


if __name__ == "__main__":
    main()
