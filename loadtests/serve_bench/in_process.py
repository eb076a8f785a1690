"""The ceiling: JPEG bytes -> answers by the worker's own pipeline, without a server, in a process that idles between
turns. Run as a script it reads lines `BATCH SECONDS` and answers each with a line of JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .load import Measured


class InProcess:
    """Its process, from the asking side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def measure(self, *, batch: int, seconds: float) -> Measured:
        """Batches one after the other; each of a batch's images took as long as the batch."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{batch} {seconds}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        latencies = [each for each in answer["latencies"] for _ in range(batch)]
        cpu = {"worker": answer["cpu_seconds"]}
        return Measured(answer["seconds"], latencies, answer["which"], [{}], cpu, answer["memory_mb"])


@contextmanager
def in_process(model: Path) -> Iterator[InProcess]:
    """model: the folder that the tuned peers get too"""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # as the gateway starts its workers
    command = [sys.executable, "-m", "serve_bench.in_process", str(model)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield InProcess(process)
        finally:
            process.terminate()


def main(model: Path) -> None:
    import photos
    import psutil
    from peers.engine import Engine

    engine, turns = Engine(model), itertools.cycle(enumerate(photos.mixed()))
    engine.classify([next(turns)[1]])
    print("ready", flush=True)
    for line in sys.stdin:
        batch, seconds = line.split()
        latencies, which, cpu = [], [], time.process_time()
        begin = time.perf_counter()
        while (started := time.perf_counter()) < begin + float(seconds):
            numbers, images = zip(*itertools.islice(turns, int(batch)), strict=True)
            engine.classify(images)
            latencies.append(time.perf_counter() - started)
            which += numbers
        answer = {
            "seconds": time.perf_counter() - begin,
            "latencies": latencies,
            "which": which,
            "cpu_seconds": time.process_time() - cpu,
            "memory_mb": psutil.Process().memory_full_info().pss / 2**20,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
