"""What was measured of one side under one load in one round -> a row of the CSV."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from .load import Measured

IN_PROCESS = "engine with decode, in process"
STAGES = ("queue", "batch_wait", "decode", "inference")


@dataclass(frozen=True)
class Row:
    round: int
    side: str
    variant: str
    version: str
    load: str
    images: int
    images_per_second: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    of_photos_ms: float
    """The median of each photo's calls, averaged over the photos: the median of all lies somewhere between those of
    small ones and of large ones, and jumps."""
    server_cpu_ms: float
    """Per image, of all of the server's processes."""
    gateway_cpu_ms: float
    jvm_cpu_ms: float
    worker_cpu_ms: float
    generator_cpu_ms: float
    memory_mb: float
    request_ms: float
    """Mean, as the gateway counts it: from the first byte read to the answer ready."""
    queue_ms: float
    """Mean, like the stages that follow; 0 where a server does not tell."""
    batch_wait_ms: float
    decode_ms: float
    inference_ms: float


def row(number: int, side: str, variant: str, load: str, found: Measured, *, version: str = "") -> Row:
    images = len(found.latencies)
    ordered = sorted(found.latencies)
    server = {name: value for name, value in found.cpu_seconds.items() if name != "generator"}
    return Row(
        round=number,
        side=side,
        variant=variant,
        version=version,
        load=load,
        images=images,
        images_per_second=found.images_per_second,
        p50_ms=1000 * statistics.median(ordered),
        p99_ms=1000 * ordered[min(images - 1, int(0.99 * images))],
        mean_ms=1000 * statistics.fmean(ordered),
        of_photos_ms=1000 * _of_photos(found),
        server_cpu_ms=1000 * sum(server.values()) / images,
        gateway_cpu_ms=_part(server, "gateway", images),
        jvm_cpu_ms=_part(server, "jvm", images),
        worker_cpu_ms=_part(server, "worker", images),
        generator_cpu_ms=1000 * found.cpu_seconds.get("generator", 0.0) / images,
        memory_mb=found.memory_mb,
        request_ms=1000 * found.request_seconds,
        **{f"{name}_ms": 1000 * statistics.fmean(each.get(name, 0.0) for each in found.stages) for name in STAGES},
    )


def _of_photos(found: Measured) -> float:
    by_photo: dict[int, list[float]] = {}
    for number, seconds in zip(found.which, found.latencies, strict=True):
        by_photo.setdefault(number, []).append(seconds)
    return statistics.fmean(map(statistics.median, by_photo.values()))


def _part(cpu_seconds: Mapping[str, float], name: str, images: int) -> float:
    return 1000 * sum(value for each, value in cpu_seconds.items() if each.startswith(name)) / images
