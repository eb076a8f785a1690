"""Resident memory of gateway, JVM and worker: at rest, and after thousands of requests -> CSV and a table."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table
from running import RESULTS, SAMPLES, Service, build, serving, write

import swinserve

CALLERS = 8
MB = 10**6


def memory(service: Service, moment: str) -> list[dict[str, object]]:
    return [
        {"moment": moment, "process": name, "rss_mb": round(process.memory_info().rss / MB, 1)}
        for name, process in service.processes().items()
    ]


def classify(service: Service, requests: int) -> int:
    """Sends that many, half over each protocol, `CALLERS` at a time; returns how many labels were wrong."""
    images = [(path.read_bytes(), path.name.split("-")[0]) for path in SAMPLES]
    with swinserve.Client(service.grpc) as grpc, swinserve.Client(service.http) as http:
        clients = cycle((grpc, http))
        work = [(next(clients), *each) for each in islice(cycle(images), requests)]
        with ThreadPoolExecutor(CALLERS) as pool:
            answers = pool.map(lambda each: each[0].classify(each[1]).results[0].predictions[0].label != each[2], work)
            return sum(track(answers, f"{requests} requests", total=requests))


@click.command()
@click.option("--requests", default=5000, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(requests: int, output: Path) -> None:
    """Measure the memory of the service on the default model."""
    with tempfile.TemporaryDirectory() as folder, serving(build("swin_digits", Path(folder))) as service:
        time.sleep(3)
        rows = memory(service, "at rest")
        wrong = classify(service, requests)
        rows += memory(service, f"after {requests} requests")
    table = Table("moment", "process", "RSS MB")
    for row in rows:
        table.add_row(*map(str, row.values()))
    for moment in dict.fromkeys(str(row["moment"]) for row in rows):
        table.add_row(moment, "together", f"{sum(float(str(r['rss_mb'])) for r in rows if r['moment'] == moment):.1f}")
    Console().print(table)
    print(f"wrong labels: {wrong} of {requests}")
    print(write(rows, "memory", output))


if __name__ == "__main__":
    main()
