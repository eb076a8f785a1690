"""What the gateway costs: the same images over the gateway and over TorchServe's own gRPC port -> CSV and a table.

The model does almost nothing (null_entry.py), all sides run interleaved in one process, and every figure is the best
and the median of many rounds. Calls with many images also go to TorchServe as one job, to see what jobs of several
images would save. `make bench-gateway` runs it; it takes two minutes.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import grpc.aio
from rich.console import Console
from rich.progress import track
from rich.table import Table
from running import RESULTS, SAMPLES, Service, build, serving, write

from swin_proto import CONTRACT_VERSION
from swin_proto.torchserve.inference_pb2 import PredictionsRequest
from swin_proto.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub
from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from swin_proto.worker.v1.job_pb2 import Job

NULL_ENTRY = Path(__file__).resolve().with_name("null_entry.py")
Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Load:
    callers: int
    images: int
    """Of each call."""
    calls: int
    """Per round."""


LOADS = (Load(1, 1, 200), Load(32, 1, 800), Load(2, 16, 50))


def null_archive(folder: Path, *, batch_size: int = 32) -> Path:
    """The default model's archive with its entry replaced by null_entry.py."""
    archive = folder / "null.mar"
    with (
        zipfile.ZipFile(build("swin_digits", folder / "store", "--no-tune", "--batch-size", str(batch_size))) as source,
        zipfile.ZipFile(archive, "w") as target,
    ):
        for info in source.infolist():
            replaced = info.filename == "swinserve_entry.py"
            target.writestr(info, NULL_ENTRY.read_bytes() if replaced else source.read(info))
    return archive


async def measure(call: Call, load: Load) -> tuple[float, float]:
    """(median seconds of a call, images per second) of one round in a closed loop."""
    latencies: list[float] = []

    async def caller() -> None:
        for _ in range(load.calls // load.callers):
            started = time.perf_counter()
            await call()
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(load.callers)))
    seconds = time.perf_counter() - started
    return statistics.median(latencies), len(latencies) * load.images / seconds


def sides(service: Service, image: bytes, images: int) -> dict[str, Call]:
    """The same images over each; each side has a channel of its own."""
    alone = [("grpc.use_local_subchannel_pool", 1)]
    gateway = service.grpc.removeprefix("grpc://")
    ours = ClassifierStub(grpc.aio.insecure_channel(gateway, options=alone))
    theirs = InferenceAPIsServiceStub(grpc.aio.insecure_channel(service.torchserve_grpc, options=alone))
    key = (("authorization", f"Bearer {service.torchserve_key}"),)
    request = ClassifyRequest(images=[Image(content=image)] * images)
    one, all_of_them = _job([image]), _job([image] * images)
    found: dict[str, Call] = {
        "gateway": lambda: ours.Classify(request),
        "torchserve": lambda: asyncio.gather(*(_awaited(theirs.Predictions(one, metadata=key)) for _ in range(images))),
    }
    return (
        found
        if images == 1
        else {**found, "torchserve, one job": lambda: theirs.Predictions(all_of_them, metadata=key)}
    )


def _job(images: list[bytes]) -> PredictionsRequest:
    job = Job(contract_version=CONTRACT_VERSION, images=images, top_k=5).SerializeToString()
    return PredictionsRequest(model_name="swin_digits", input={"job": job})


async def _awaited(call: Awaitable[object]) -> object:
    return await call


async def rounds(service: Service, image: bytes, count: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for load in LOADS:
        calls = sides(service, image, load.images)
        for number in track(range(count + 1), f"{load.callers} callers, {load.images} images a call"):
            # Alternating order, so that no side always runs on the warmer machine; round 0 warms up.
            for side in sorted(calls, reverse=bool(number % 2)):
                p50, rate = await measure(calls[side], load)
                if number:
                    known = {"side": side, "callers": load.callers, "images": load.images, "round": number}
                    rows.append({**known, "p50_seconds": p50, "rate": rate})
    return rows


def report(rows: list[dict[str, object]]) -> Table:
    table = Table("callers", "images a call", "side", "p50 best ms", "median ms", "images/s best", "median")
    for load, side, mine in _groups(rows):
        p50 = [1000 * float(str(row["p50_seconds"])) for row in mine]
        rate = [float(str(row["rate"])) for row in mine]
        figures = (min(p50), statistics.median(p50), max(rate), statistics.median(rate))
        table.add_row(str(load.callers), str(load.images), side, *(f"{figure:.2f}" for figure in figures))
    return table


def _groups(rows: list[dict[str, object]]) -> Iterator[tuple[Load, str, list[dict[str, object]]]]:
    for load in LOADS:
        mine = [row for row in rows if (row["callers"], row["images"]) == (load.callers, load.images)]
        for side in sorted({str(row["side"]) for row in mine}):
            yield load, side, [row for row in mine if row["side"] == side]


@click.command()
@click.option("--rounds", "count", default=15, show_default=True, help="interleaved rounds per number of callers")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(count: int, output: Path) -> None:
    """Measure the gateway against TorchServe's own gRPC port."""
    image = next(path for path in SAMPLES if path.suffix == ".jpg").read_bytes()

    with tempfile.TemporaryDirectory() as folder, serving(null_archive(Path(folder))) as service:
        rows = asyncio.run(rounds(service, image, count))
    Console().print(report(rows))
    print(write(rows, "gateway", output))


if __name__ == "__main__":
    main()
