"""JPEG bytes -> answers by the worker's own pipeline, against its engine and its decoding alone -> CSV and a table.

What a service on this machine cannot exceed, and which of the two bounds it. `make bench-pipeline` runs it, on a CUDA
device where there is one; everything takes turns in one process, and figures are the best and the median of the rounds.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the gateway starts its workers; read when torch is imported

import click
import photos
import torch
from model_bench.subject import ARCHITECTURES
from model_bench.subject import Subject as Model
from rich.console import Console
from rich.progress import track
from rich.table import Table
from running import RESULTS, write

from swin_handler import cpus, engine
from swin_handler.batch import Facts, Pipeline
from swin_handler.config import BACKENDS
from swin_handler.decode import Decoder
from swin_handler.engine import BatchEngine
from swin_handler.request import Request

ENGINE, DECODE, BOTH = "engine", "decode", "pipeline"
KEPT = 0.8
"""Of the engine's rate, which the pipeline is asked to keep on a GPU."""


@dataclass(frozen=True)
class Round:
    model: str
    backend: str
    dtype: str
    device: str
    threads: int
    decode_threads: int
    """0: nothing is decoded."""
    batch: int
    what: str
    round: int
    images_per_second: float


@dataclass(frozen=True)
class Subject:
    name: str
    engine: BatchEngine
    decoder: Decoder
    device: torch.device
    threads: int

    @classmethod
    def make(cls, name: str, batches: Sequence[int], backend: str) -> Subject:
        """Random weights, as many threads as there are CPUs."""
        device, threads = torch.device("cuda" if torch.cuda.is_available() else "cpu"), cpus.available()
        torch.set_num_threads(threads)
        ours = Model.make(name, batch=1).loaded()
        made = engine.build(ours, device=device, buckets=_buckets(batches), backend=backend, threads=threads)
        return cls(name, made, Decoder(ours.data_config, max_pixels=50_000_000), device, threads)

    def work(self, batch: int, pools: Mapping[int, Executor]) -> dict[tuple[str, int], Callable[[], object]]:
        """One batch of each, by what and decode threads; the files take turns."""
        turns = itertools.cycle(photos.mixed())
        pixels = torch.stack([self.decoder(file).pixels for file in itertools.islice(turns, batch)])
        found: dict[tuple[str, int], Callable[[], object]] = {(ENGINE, 0): lambda: self.engine.run(pixels)}
        for threads, pool in pools.items():
            pipeline = Pipeline(self.decoder, self.engine, pool)
            found[DECODE, threads] = lambda pool=pool: list(pool.map(self.decoder, itertools.islice(turns, batch)))
            found[BOTH, threads] = lambda pipeline=pipeline: pipeline.classify(
                [Request((file,), 5) for file in itertools.islice(turns, batch)], Facts(time.monotonic())
            )
        return found


def _buckets(batches: Sequence[int]) -> list[int]:
    """The powers of two up to the largest batch: what an archive has."""
    return [1 << power for power in range(max(batches).bit_length())]


def measure(subject: Subject, batch: int, pools: Mapping[int, Executor], rounds: int, seconds: float) -> list[Round]:
    work, found = subject.work(batch, pools), []
    for number in track(range(rounds + 1), f"batch {batch}"):
        for what, decode_threads in sorted(work, reverse=bool(number % 2)):
            images, begin = 0, time.perf_counter()
            while (taken := time.perf_counter() - begin) < seconds:
                work[what, decode_threads]()
                images += batch
            if number:  # round 0 warms up
                known = (subject.name, subject.engine.backend, subject.engine.dtype, subject.device.type)
                found.append(Round(*known, subject.threads, decode_threads, batch, what, number, images / taken))
    return found


def report(rounds: Sequence[Round]) -> Table:
    """Best (median); whether both together keep four fifths of the engine, or else what bounds them."""
    columns = [f"{what}, images/s" for what in (ENGINE, DECODE, BOTH)]
    table = Table("batch", "decode threads", *columns, "pipeline / engine", "verdict")
    for batch, threads in sorted({(each.batch, each.decode_threads) for each in rounds if each.decode_threads}):
        rates = {
            what: [
                each.images_per_second
                for each in rounds
                if (each.batch, each.what) == (batch, what) and each.decode_threads in (0, threads)
            ]
            for what in (ENGINE, DECODE, BOTH)
        }
        shown = (f"{max(each):.1f} ({statistics.median(each):.1f})" for each in rates.values())
        middle = {what: statistics.median(each) for what, each in rates.items()}
        share = middle[BOTH] / middle[ENGINE]
        if share >= KEPT:
            verdict = f"at least {KEPT:g} of the engine"
        elif middle[DECODE] < middle[ENGINE]:
            verdict = "bound by decoding"
        else:
            verdict = "the same CPUs decode and compute" if rounds[0].device == "cpu" else "bound by neither"
        table.add_row(str(batch), str(threads), *shown, f"{share:.2f}", verdict)
    return table


@click.command()
@click.option("--model", "name", type=click.Choice([*ARCHITECTURES]), default="swin_tiny", show_default=True)
@click.option("--batch", "batches", type=click.IntRange(1, 1024), multiple=True, help="1, 8 and 64 by default")
@click.option(
    "--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="auto: the safe default"
)
@click.option("--decode-threads", type=click.IntRange(1), multiple=True, help="as many as there are CPUs by default")
@click.option("--rounds", default=7, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="of each in each round")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    name: str,
    batches: Sequence[int],
    backend: str,
    decode_threads: Sequence[int],
    rounds: int,
    seconds: float,
    output: Path,
) -> None:
    """Measure what a worker makes of JPEGs without a server."""
    batches = batches or (1, 8, 64)
    subject = Subject.make(name, batches, backend)
    pools = {threads: ThreadPoolExecutor(threads) for threads in decode_threads or [subject.threads]}
    found = [each for batch in batches for each in measure(subject, batch, pools, rounds, seconds)]
    Console(width=120).print(report(found))
    print(write([asdict(each) for each in found], "pipeline", output))


if __name__ == "__main__":
    main()
