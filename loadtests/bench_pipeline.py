"""JPEG bytes -> answers by the worker's own pipeline, against its engine and its decoding alone -> CSV and a table.

What a service on this machine cannot exceed, and which of the two bounds it. `make bench-pipeline` runs it, on a CUDA
device where there is one; everything takes turns in one process, and figures are the best and the median of the rounds.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Round:
    model: str
    backend: str
    dtype: str
    device: str
    threads: int
    batch: int
    what: str
    round: int
    images_per_second: float


@dataclass(frozen=True)
class Subject:
    name: str
    engine: BatchEngine
    decoder: Decoder
    pool: ThreadPoolExecutor
    device: torch.device
    threads: int

    @classmethod
    def make(cls, name: str, batches: Sequence[int], backend: str) -> Subject:
        """Random weights, as many threads as there are CPUs."""
        device, threads = torch.device("cuda" if torch.cuda.is_available() else "cpu"), cpus.available()
        torch.set_num_threads(threads)
        ours = Model.make(name, batch=1).loaded()
        made = engine.build(ours, device=device, buckets=_buckets(batches), backend=backend, threads=threads)
        decoder = Decoder(ours.data_config, max_pixels=50_000_000)
        return cls(name, made, decoder, ThreadPoolExecutor(threads), device, threads)

    def work(self, batch: int) -> dict[str, Callable[[], object]]:
        """One batch of each; the files take turns."""
        turns = itertools.cycle(photos.mixed())
        pixels = torch.stack([self.decoder(file).pixels for file in itertools.islice(turns, batch)])
        pipeline = Pipeline(self.decoder, self.engine, self.pool)
        return {
            ENGINE: lambda: self.engine.run(pixels),
            DECODE: lambda: list(self.pool.map(self.decoder, itertools.islice(turns, batch))),
            BOTH: lambda: pipeline.classify(
                [Request((file,), 5) for file in itertools.islice(turns, batch)], Facts(time.monotonic())
            ),
        }


def _buckets(batches: Sequence[int]) -> list[int]:
    """The powers of two up to the largest batch: what an archive has."""
    return [1 << power for power in range(max(batches).bit_length())]


def measure(subject: Subject, batch: int, rounds: int, seconds: float) -> list[Round]:
    work, found = subject.work(batch), []
    for number in track(range(rounds + 1), f"batch {batch}"):
        for what in sorted(work, reverse=bool(number % 2)):
            images, begin = 0, time.perf_counter()
            while (taken := time.perf_counter() - begin) < seconds:
                work[what]()
                images += batch
            if number:  # round 0 warms up
                known = (subject.name, subject.engine.backend, subject.engine.dtype, subject.device.type)
                found.append(Round(*known, subject.threads, batch, what, number, images / taken))
    return found


def report(rounds: Sequence[Round]) -> Table:
    table = Table("batch", *(f"{what}, images/s" for what in (ENGINE, DECODE, BOTH)), "pipeline / engine", "bound by")
    for batch in sorted({each.batch for each in rounds}):
        rates = {what: [r.images_per_second for r in rounds if (r.batch, r.what) == (batch, what)] for what in WHAT}
        shown = (f"{max(each):.1f} ({statistics.median(each):.1f})" for each in rates.values())
        middle = {what: statistics.median(each) for what, each in rates.items()}
        table.add_row(str(batch), *shown, f"{middle[BOTH] / middle[ENGINE]:.2f}", min((ENGINE, DECODE), key=middle.get))
    return table


WHAT = (ENGINE, DECODE, BOTH)


@click.command()
@click.option("--model", "name", type=click.Choice([*ARCHITECTURES]), default="swin_tiny", show_default=True)
@click.option("--batch", "batches", type=click.IntRange(1, 1024), multiple=True, help="1, 8 and 64 by default")
@click.option(
    "--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="auto: the safe default"
)
@click.option("--rounds", default=7, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="of each in each round")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(name: str, batches: Sequence[int], backend: str, rounds: int, seconds: float, output: Path) -> None:
    """Measure what a worker makes of JPEGs without a server."""
    batches = batches or (1, 8, 64)
    subject = Subject.make(name, batches, backend)
    found = [each for batch in batches for each in measure(subject, batch, rounds, seconds)]
    Console(width=120).print(report(found))
    print(write([asdict(each) for each in found], "pipeline", output))


if __name__ == "__main__":
    main()
