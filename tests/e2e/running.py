"""Starts the real `swinserve serve` on free ports and knows its processes; what the e2e tests hold in their hands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

SWINSERVE = Path(sys.executable).with_name("swinserve")
FREE_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
READY_SECONDS = 280.0
ANNOUNCED = re.compile(r"at (?P<http>https?://\S+) (?P<grpc>grpcs?://\S+) metrics (?P<metrics>https?://\S+)")


class Running:
    """One service process. `start` returns when it is ready."""

    def __init__(
        self,
        folder: Path,
        *arguments: str | Path,
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """prefix: of the command; it must become the service's process"""
        self._stdout = folder / "stdout"
        self._stderr = folder / "stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [*prefix, SWINSERVE, "serve", *map(str, arguments)],
                stdout=out,
                stderr=err,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._stderr.read_text()

    @property
    def announcement(self) -> str:
        return self._stdout.read_text()

    def wait_ready(self) -> None:
        until(lambda: self.process.poll() is not None or ANNOUNCED.search(self.announcement), READY_SECONDS)
        found = ANNOUNCED.search(self.announcement)
        assert found, f"ended with {self.process.poll()}:\n{self.log}"
        self.http, self.grpc, self.metrics = found["http"], found["grpc"], found["metrics"]

    def torchserve(self, path: str) -> list[str]:
        """Of TorchServe's own REST, for curl: its socket, the key it asks for, the URL."""
        key = json.loads((self.folder() / "key_file.json").read_text())["inference"]["key"]
        socket = str(self.folder() / "rest.sock")
        return ["--unix-socket", socket, "-H", f"authorization: Bearer {key}", f"http://torchserve{path}"]

    def folder(self) -> Path:
        """The private folder of its TorchServe, unpacked archives included; also after the end."""
        if not hasattr(self, "_folder"):
            (option,) = [word for word in self.jvm().cmdline() if word.startswith("-Djava.io.tmpdir=")]
            self._folder = Path(option.partition("=")[2])
        return self._folder

    def jvm(self) -> psutil.Process:
        (jvm,) = psutil.Process(self.pid).children()
        return jvm

    def workers(self) -> list[psutil.Process]:
        return [child for child in self.jvm().children() if _is_worker(child)]

    def worker(self) -> psutil.Process:
        (worker,) = self.workers()
        return worker

    def processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def ready(self) -> bool:
        return status(f"{self.http}/readyz") == 200

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@contextmanager
def service(
    folder: Path,
    *arguments: str | Path,
    grace: float = 0,
    environment: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Running]:
    """A ready service; killed at the end if the test has not stopped it."""
    flags = (*FREE_PORTS, "--drain-grace", str(grace), "--log-format", "json")
    running = Running(folder, *arguments, *flags, environment=environment, prefix=prefix)
    try:
        running.wait_ready()
        yield running
        if running.process.poll() is None:
            assert running.stop() == 0, running.log
    finally:
        running.kill()


def curl(*arguments: str | Path) -> str:
    """What the real curl prints; the test is skipped where there is none, but in CI."""
    if shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("curl is not installed")
    return subprocess.run(["curl", "-sS", *arguments], check=True, capture_output=True, text=True).stdout


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "model_service_worker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # ended a moment ago
        return False


def until(condition: Callable[[], object], seconds: float, *, every: float = 0.05) -> float:
    """Waits for `condition`; the seconds it took. Fails after `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(every)
    return time.monotonic() - started


def status(url: str) -> int:
    """The HTTP status of a GET; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def value(metrics: str, name: str) -> float:
    """A series' sum over its labels, of the metrics' text."""
    rows = [line.rpartition(" ") for line in metrics.splitlines() if not line.startswith("#")]
    return sum(float(number) for series, _, number in rows if series.partition("{")[0] == f"swinserve_{name}")


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more (a zombie does not run)."""
    return not any(_runs(each) for each in processes)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two
        return False
