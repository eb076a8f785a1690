"""One way to serve the Swin-T: environment -> server process on loopback -> POSTs and answers -> stopped.

peer = find("litserve", "tuned")
with peer.serving(folder, jpeg) as running:        # folder: see model_folder.py
    post = peer.form(jpeg)
    answer = httpx.post(running.url, content=post.body, headers=post.headers)
    peer.label(answer.content)                     # the best label
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from . import environment
from .answer import Reader, best
from .post import Form

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 180.0  # seconds from start to the first answer; loading torch in several processes takes most of it
GRACE = 15.0  # seconds from SIGTERM to SIGKILL
TAIL_LINES = 30


@dataclass(frozen=True)
class Running:
    url: str
    pid: int
    log: Path
    """Until it is stopped."""


@dataclass(frozen=True)
class Peer:
    name: str
    """Its folder."""
    variant: str
    """documented or tuned"""
    path: str
    form: Form
    """JPEG -> POST"""
    scores: Reader
    """body of an answer -> {label: score}"""
    packages: tuple[str, ...]
    """Whose versions say what was measured."""

    @property
    def script(self) -> Path:
        return environment.FOLDER / self.name / f"{self.variant}.py"

    def label(self, body: bytes) -> str:
        return best(self.scores(body))

    def environment(self) -> Path:
        """Its interpreter; the first time takes minutes, what others have comes from uv's cache."""
        return environment.python(self.name)

    def versions(self) -> Mapping[str, str]:
        return environment.versions(self.environment(), self.packages)

    @contextmanager
    def serving(self, model: Path, jpeg: bytes) -> Iterator[Running]:
        """Starts it, waits until it has classified `jpeg`, stops it. Raises RuntimeError with the end of its log."""
        interpreter = self.environment()
        # Short, because unix sockets live in it, and their paths may have 107 characters.
        with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as scratch:
            log, port = Path(scratch) / "log.txt", _free_port()
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [interpreter, self.script, "--port", str(port), "--model", model.resolve()],
                    cwd=scratch,
                    env=_variables(scratch),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            try:
                running = Running(f"http://127.0.0.1:{port}{self.path}", process.pid, log)
                self._wait(running, process, jpeg)
                yield running
            finally:
                stop(process)

    def _wait(self, running: Running, process: subprocess.Popen[bytes], jpeg: bytes) -> None:
        post, deadline, last = self.form(jpeg), time.monotonic() + PATIENCE, "no connection"
        while process.poll() is None and time.monotonic() < deadline:
            try:
                answer = httpx.post(running.url, content=post.body, headers=dict(post.headers), timeout=60)
            except httpx.TransportError as error:
                last = str(error)
            else:
                if answer.status_code == httpx.codes.OK:
                    self.scores(answer.content)
                    return
                last = f"{answer.status_code} {answer.text[:500]}"
            time.sleep(0.25)
        end = "\n".join(running.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        raise RuntimeError(f"{self.name}, {self.variant}: does not answer ({last}); its log ends:\n{end}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, after GRACE SIGKILL; whatever it started is gone as well."""
    # By descent and not by group alone: BentoML's supervisor gives its workers groups of their own.
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    process.send_signal(signal.SIGCONT)  # one that is paused could not end
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.resume()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(family, timeout=2)
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    psutil.wait_procs(left, timeout=GRACE)


def _variables(scratch: str) -> dict[str, str]:
    return {
        # Idle OpenMP threads that spin take the cores from decoding; our own service sets it as well.
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'handler'}",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": scratch,
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
