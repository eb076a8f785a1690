"""A model -> a running service on free ports, for the time of a benchmark; and where a benchmark writes its figures."""

from __future__ import annotations

import csv
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

RESULTS = Path(__file__).resolve().parent / "results"
SAMPLES = sorted((Path(__file__).resolve().parents[1] / "model_store" / "swin_digits" / "samples").iterdir())
SWINSERVE = Path(sys.executable).with_name("swinserve")
PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--drain-grace", "0")


@dataclass(frozen=True)
class Service:
    http: str
    grpc: str
    metrics: str
    torchserve_grpc: str
    """host:port of TorchServe's own gRPC, on loopback"""
    torchserve_key: str
    """What that asks for."""
    pid: int

    def processes(self) -> dict[str, psutil.Process]:
        """gateway, jvm and worker"""
        gateway = psutil.Process(self.pid)
        (jvm,) = gateway.children()
        (worker,) = jvm.children()
        return {"gateway": gateway, "jvm": jvm, "worker": worker}


@contextmanager
def serving(*arguments: str | Path) -> Iterator[Service]:
    """`swinserve serve ARGUMENTS`, ready; drained at the end. Raises RuntimeError with its log when it cannot start."""
    with tempfile.TemporaryFile("w+") as log:
        command = [SWINSERVE, "serve", *arguments, *PORTS, "--log-format", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                assert process.stdout is not None
                announced = re.search(r"at (http://\S+) (grpc://\S+) metrics (http://\S+)", process.stdout.readline())
                log.seek(0)
                text = log.read()
                if announced is None:
                    raise RuntimeError(text)
                (torchserve,) = re.findall(r'"grpc": "([\d.:]+)"', text)
                yield Service(*announced.groups(), torchserve, _torchserve_key(process.pid), process.pid)
            finally:
                process.terminate()


def _torchserve_key(pid: int) -> str:
    """From the private folder of the JVM below the process."""
    (jvm,) = psutil.Process(pid).children()
    (option,) = [word for word in jvm.cmdline() if word.startswith("-Djava.io.tmpdir=")]
    keys = json.loads((Path(option.partition("=")[2]) / "key_file.json").read_text())
    return str(keys["inference"]["key"])


def build(name: str, store: Path, *options: str) -> Path:
    """The archive that `swinserve build NAME` makes."""
    command = [SWINSERVE, "build", name, "--model-store", store, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(store.glob("*.mar"))


def machine() -> str:
    """The processor and how many of its cores there are, fit for a file name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    name = found[1] if found else os.uname().machine
    return f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}-{len(os.sched_getaffinity(0))}-cores"


def write(rows: Sequence[Mapping[str, object]], what: str, folder: Path = RESULTS) -> Path:
    """<date>-<machine>-<what>.csv"""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.datetime.now(datetime.UTC).date()}-{machine()}-{what}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path
