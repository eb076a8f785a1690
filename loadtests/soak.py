"""Hours of load: good and malformed input at 70 % of capacity, with what each process holds -> CSV, plot.

`make soak MINUTES=30` runs it. Ctrl-C ends it early and keeps what was measured. Exit code 1 if something grew or an
answer was wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import grpc.aio
import httpx
import psutil
from bench_overload import capacity
from open_loop import OK, SHED, Call, Ended, grpc_call, open_loop, percentile
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from running import RESULTS, SAMPLES, Service, build, serving, write

MALFORMED = 0.05
"""Of the images."""
SETTLED_MINUTES = 5.0
"""After which nothing may grow any more."""
GROWTH = 0.03
"""Of resident memory, allowed between its least and its most from then on."""
REFUSED_RIGHTLY = "refused rightly"
WINDOW_SECONDS = 10.0


@dataclass(frozen=True)
class Sample:
    minute: float
    process: str
    rss_mb: float
    descriptors: int
    threads: int
    queue: float
    """Most images waiting, of a look each second."""
    p99_seconds: float
    """Of good calls since the last sample."""
    good: int
    refused_rightly: int
    """Malformed images that got their error."""
    shed: int
    """Refused, the queue being full: the machine was busy with something else."""
    wrong: int
    """Anything else."""


def mixed(channel: grpc.aio.Channel, seed: int) -> Call:
    """A good image, or one in twenty times a truncated one or noise, which must be refused for what it is."""
    dice = random.Random(seed)
    images = [path.read_bytes() for path in SAMPLES]
    good = [grpc_call(channel, image, timeout=10) for image in images]
    bad = [grpc_call(channel, image, timeout=10) for image in (images[0][:60], dice.randbytes(5000))]

    async def call() -> str:
        if dice.random() >= MALFORMED:
            return await dice.choice(good)()
        outcome = await dice.choice(bad)()
        return {"INVALID_ARGUMENT": REFUSED_RIGHTLY, SHED: SHED}.get(outcome, f"malformed: {outcome}")

    return call


async def soak(service: Service, samples: list[Sample], *, minutes: float) -> None:
    """Adds to `samples` as it goes, so that they are there when it is stopped."""
    processes = service.processes()
    async with grpc.aio.insecure_channel(service.grpc.removeprefix("grpc://")) as channel, httpx.AsyncClient() as http:
        await capacity(mixed(channel, 0), seconds=5)  # until it is warm
        rate = 0.7 * await capacity(mixed(channel, 0), seconds=10, good=(OK, REFUSED_RIGHTLY))
        call, begin, number = mixed(channel, 1), time.monotonic(), 0
        with Progress() as bar:
            task = bar.add_task(f"{rate:.0f} images/s", total=minutes)
            while (minute := (time.monotonic() - begin) / 60) < minutes:
                number += 1
                load = asyncio.create_task(open_loop(call, rate=rate, seconds=WINDOW_SECONDS, seed=number))
                queue = await _most_waiting(http, service.metrics, load)
                ended = await load
                for name, process in processes.items():
                    held = (process.memory_info().rss / 2**20, process.num_fds(), process.num_threads())
                    samples.append(_sample(minute, name, held, queue, ended))
                bar.update(task, completed=minute)


async def _most_waiting(http: httpx.AsyncClient, metrics: str, while_running: asyncio.Task[list[Ended]]) -> float:
    most = 0.0
    while not (await asyncio.wait({while_running}, timeout=1))[0]:
        most = max(most, await _queue(http, metrics))
    return most


async def _queue(http: httpx.AsyncClient, metrics: str) -> float:
    text = (await http.get(metrics)).text
    lines = [line for line in text.splitlines() if line.startswith("swinserve_queue_images{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _sample(minute: float, name: str, held: tuple[float, int, int], queue: float, ended: Sequence[Ended]) -> Sample:
    count = Counter(each.outcome for each in ended)
    p99 = percentile([each.seconds for each in ended if each.outcome == OK], 0.99)
    known = (count[OK], count[REFUSED_RIGHTLY], count[SHED])
    return Sample(minute, name, *held, queue, p99, *known, count.total() - sum(known))


def verdict(samples: Sequence[Sample]) -> tuple[Table, list[str]]:
    """The table of what each process held, and what is wrong."""
    table = Table("process", "RSS MB: least", "most", "within", "descriptors", "threads")
    wrong = []
    if failed := sum(sample.wrong for sample in samples) // len({sample.process for sample in samples}):
        wrong.append(f"{failed} calls did not end as they should")
    if shed := sum(sample.shed for sample in samples) // len({sample.process for sample in samples}):
        wrong.append(f"{shed} calls were refused, at 70 % of capacity")
    for name in dict.fromkeys(sample.process for sample in samples):
        mine = [sample for sample in samples if sample.process == name]
        settled = [sample for sample in mine if sample.minute >= SETTLED_MINUTES] or mine
        least, most = (choose(each.rss_mb for each in settled) for choose in (min, max))
        shown = [_range(settled, what) for what in ("descriptors", "threads")]
        table.add_row(name, f"{least:.1f}", f"{most:.1f}", f"{most / least - 1:.2%}", *shown)
        if most / least - 1 > GROWTH:
            wrong.append(f"{name}: memory is not within {GROWTH:.0%} but {most / least - 1:.1%}")
        wrong += [f"{name}: {what} grew" for what in ("descriptors", "threads") if _grew(settled, what)]
    return table, wrong


def _range(samples: Sequence[Sample], what: str) -> str:
    values = sorted({getattr(each, what) for each in samples})
    return f"{values[0]}–{values[-1]}" if values[1:] else f"{values[0]}"


def _grew(samples: Sequence[Sample], what: str) -> bool:
    """Whether there were more in the last half than ever before it: pools let go of what is idle, and take it again."""
    half = len(samples) // 2
    counts = [getattr(each, what) for each in samples]
    return max(counts[half:]) > max(counts[:half] or counts)


def draw(samples: Sequence[Sample], picture: Path) -> None:
    """Memory, descriptors and threads of each process, and p99, over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout="constrained")
    axes = figure.subplots(4, 1, sharex=True)
    names = list(dict.fromkeys(sample.process for sample in samples))
    for name in names:
        mine = [sample for sample in samples if sample.process == name]
        minutes = [sample.minute for sample in mine]
        for axis, what in zip(axes, ("rss_mb", "descriptors", "threads"), strict=False):
            axis.plot(minutes, [getattr(sample, what) for sample in mine], label=name)
    one = [sample for sample in samples if sample.process == names[0]]
    axes[3].plot([sample.minute for sample in one], [1000 * sample.p99_seconds for sample in one], label="p99 ms")
    axes[3].plot([sample.minute for sample in one], [sample.queue for sample in one], label="images waiting")
    for axis, what in zip(axes, ("resident MB", "descriptors", "threads", "p99 ms, queue"), strict=True):
        axis.set_ylabel(what)
        axis.set_ylim(bottom=0)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))  # beside the lines, not on them
    axes[3].set_xlabel("minutes")
    figure.savefig(picture, dpi=150)


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--model", default="swin_digits", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(minutes: float, model: str, output: Path) -> None:
    """Load the service for long, and watch what it holds."""
    samples: list[Sample] = []
    died = []
    console = Console(width=130)
    random_weights = [] if model == "swin_digits" else ["--random-weights", "--no-tune"]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(build(model, Path(folder), *random_weights)) as service,
        contextlib.suppress(KeyboardInterrupt),
    ):
        try:
            asyncio.run(soak(service, samples, minutes=minutes))
        except psutil.NoSuchProcess as error:
            died.append(f"a process ended: {error}")
    table, wrong = verdict(samples)
    wrong += died
    console.print(table)
    path = write([asdict(sample) for sample in samples], "soak", output)
    draw(samples, path.with_suffix(".png"))
    console.print(str(path), *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
