"""What the gateway costs: the same job over the gateway and over TorchServe's own gRPC port -> CSV and a table.

The model does almost nothing (null_entry.py), both sides run interleaved in one process, and every figure is the best
and the median of many rounds. `make bench-gateway` runs it; it takes about a minute.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import grpc.aio
from rich.console import Console
from rich.progress import track
from rich.table import Table
from running import RESULTS, SAMPLES, build, serving, write

from swin_proto import CONTRACT_VERSION
from swin_proto.torchserve.inference_pb2 import PredictionsRequest
from swin_proto.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub
from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from swin_proto.worker.v1.job_pb2 import Job

NULL_ENTRY = Path(__file__).resolve().with_name("null_entry.py")
CALLERS = (1, 32)
CALLS = {1: 200, 32: 800}  # per round

Call = Callable[[], Awaitable[object]]


def null_archive(folder: Path) -> Path:
    """The default model's archive with its entry replaced by null_entry.py."""
    archive = folder / "null.mar"
    with (
        zipfile.ZipFile(build("swin_digits", folder / "store", "--batch-size", "32")) as source,
        zipfile.ZipFile(archive, "w") as target,
    ):
        for info in source.infolist():
            replaced = info.filename == "swinserve_entry.py"
            target.writestr(info, NULL_ENTRY.read_bytes() if replaced else source.read(info))
    return archive


async def measure(call: Call, callers: int) -> tuple[float, float]:
    """(median seconds of a call, calls per second) of one round in a closed loop."""
    latencies: list[float] = []

    async def caller() -> None:
        for _ in range(CALLS[callers] // callers):
            started = time.perf_counter()
            await call()
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return statistics.median(latencies), len(latencies) / (time.perf_counter() - started)


def sides(gateway: str, torchserve: str, image: bytes) -> dict[str, Call]:
    """The same image over both; each side has a channel of its own."""
    alone = [("grpc.use_local_subchannel_pool", 1)]
    ours = ClassifierStub(grpc.aio.insecure_channel(gateway, options=alone))
    theirs = InferenceAPIsServiceStub(grpc.aio.insecure_channel(torchserve, options=alone))
    job = Job(contract_version=CONTRACT_VERSION, images=[image], top_k=5).SerializeToString()
    direct = PredictionsRequest(model_name="swin_digits", input={"job": job})
    request = ClassifyRequest(images=[Image(content=image)])
    return {"gateway": lambda: ours.Classify(request), "torchserve": lambda: theirs.Predictions(direct)}


async def rounds(calls: dict[str, Call], count: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for callers in CALLERS:
        for number in track(range(count + 1), f"{callers} caller(s)"):
            # Alternating order, so that neither side always runs on the warmer machine; round 0 warms up.
            for side in sorted(calls, reverse=bool(number % 2)):
                p50, rate = await measure(calls[side], callers)
                if number:
                    rows.append({"side": side, "callers": callers, "round": number, "p50_seconds": p50, "rate": rate})
    return rows


def report(rows: list[dict[str, object]]) -> Table:
    table = Table("callers", "side", "p50 best ms", "p50 median ms", "calls/s best", "calls/s median")
    for callers in CALLERS:
        for side in ("torchserve", "gateway"):
            mine = [row for row in rows if (row["callers"], row["side"]) == (callers, side)]
            p50 = [1000 * float(str(row["p50_seconds"])) for row in mine]
            rate = [float(str(row["rate"])) for row in mine]
            figures = (min(p50), statistics.median(p50), max(rate), statistics.median(rate))
            table.add_row(str(callers), side, *(f"{figure:.2f}" for figure in figures))
    return table


@click.command()
@click.option("--rounds", "count", default=15, show_default=True, help="interleaved rounds per number of callers")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(count: int, output: Path) -> None:
    """Measure the gateway against TorchServe's own gRPC port."""
    image = next(path for path in SAMPLES if path.suffix == ".jpg").read_bytes()

    async def run(gateway: str, torchserve: str) -> list[dict[str, object]]:
        return await rounds(sides(gateway, torchserve, image), count)  # the stubs belong to this loop

    with tempfile.TemporaryDirectory() as folder, serving(null_archive(Path(folder))) as service:
        rows = asyncio.run(run(service.grpc.removeprefix("grpc://"), service.torchserve_grpc))
    Console().print(report(rows))
    print(write(rows, "gateway", output))


if __name__ == "__main__":
    main()
