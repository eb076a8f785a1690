"""A rolling restart under load: two services behind HAProxy, each restarted in turn, and no call may fail.

`make rolling` runs it; it needs Debian's haproxy. Exit code 1 if a call failed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click
import grpc.aio
import httpx
from open_loop import OK, Call, grpc_call
from rich.console import Console
from rich.table import Table
from running import SAMPLES, SWINSERVE, build

CONFIG = Path(__file__).resolve().parents[1] / "deploy" / "haproxy.cfg"
CALLERS = 4  # of each protocol


class Instance:
    """One service on ports of its own that stay when it is restarted."""

    def __init__(self, archive: Path, folder: Path, name: str) -> None:
        self.name = name
        self.http, self.grpc, metrics = free_ports(3)
        ports = ("--http-port", self.http, "--grpc-port", self.grpc, "--metrics-port", metrics)
        self._command = [str(each) for each in (SWINSERVE, "serve", archive, *ports, "--drain-grace", 5)]
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    async def ready(self, seconds: float = 120) -> None:
        """Raises RuntimeError with its log if it ends, or is not ready after `seconds`."""
        end = time.monotonic() + seconds
        async with httpx.AsyncClient() as client:
            while time.monotonic() < end and self._process is not None and self._process.poll() is None:
                try:
                    if (await client.get(f"http://127.0.0.1:{self.http}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.1)
        raise RuntimeError(f"{self.name} is not ready:\n{self._log.read_text()[-2000:]}")

    async def end(self) -> int:
        """SIGTERM; its exit code once it has drained."""
        assert self._process is not None
        self._process.terminate()
        return await asyncio.to_thread(self._process.wait, 90)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Load:
    """Closed loops over both protocols, until stopped."""

    def __init__(self, calls: dict[str, Call]) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        self._stopping = False
        self._tasks = [
            asyncio.create_task(self._caller(name, call)) for name, call in calls.items() for _ in range(CALLERS)
        ]

    async def _caller(self, name: str, call: Call) -> None:
        while not self._stopping:
            self.ended[name, await call()] += 1

    async def until(self, more: int) -> None:
        """Waits for `more` further calls."""
        wanted = self.ended.total() + more
        while self.ended.total() < wanted:  # noqa: ASYNC110 - a twentieth of a second is soon enough
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)


def rest_call(client: httpx.AsyncClient, url: str, image: bytes) -> Call:
    async def call() -> str:
        try:
            answer = await client.post(f"{url}/v1/classify", content=image, timeout=20)
        except httpx.HTTPError as error:
            return type(error).__name__
        return OK if answer.status_code == 200 else f"{answer.status_code} {answer.json().get('reason', '')}"

    return call


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def proxy(instances: list[Instance], rest: int, grpc_port: int) -> subprocess.Popen[bytes]:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if found is None:
        raise click.ClickException("haproxy is not installed: apt install haproxy")
    addresses = {"REST_ADDRESS": f"127.0.0.1:{rest}", "GRPC_ADDRESS": f"127.0.0.1:{grpc_port}"}
    for instance in instances:
        addresses |= {
            f"{instance.name}_HTTP": f"127.0.0.1:{instance.http}",
            f"{instance.name}_GRPC": f"127.0.0.1:{instance.grpc}",
        }
    return subprocess.Popen([found, "-f", CONFIG], env=os.environ | addresses)


async def roll(instances: list[Instance], rest: int, grpc_port: int, *, calls: int, console: Console) -> Load:
    """At least `calls` calls go by before, between and after the restarts."""
    image = SAMPLES[0].read_bytes()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, httpx.AsyncClient() as client:
        load = Load(
            {
                "gRPC": grpc_call(channel, image, timeout=20),
                "REST": rest_call(client, f"http://127.0.0.1:{rest}", image),
            }
        )
        share = calls // (len(instances) + 1) + 1
        await load.until(share)
        for instance in instances:
            console.print(f"restarting {instance.name} after {load.ended.total()} calls")
            if code := await instance.end():
                raise RuntimeError(f"{instance.name} ended with {code}")
            instance.start()
            await instance.ready()
            await asyncio.sleep(3)  # until the proxy has seen it
            await load.until(share)
        await load.stop()
        return load


async def run(archive: Path, folder: Path, *, calls: int, console: Console) -> Load:
    instances = [Instance(archive, folder, name) for name in ("A", "B")]
    rest, grpc_port = free_ports(2)
    try:
        for instance in instances:
            instance.start()
        for instance in instances:
            await instance.ready()
        proxied = proxy(instances, rest, grpc_port)
        try:
            await asyncio.sleep(2)
            if proxied.poll() is not None:
                raise RuntimeError("haproxy ended at once: what it said is above")
            return await roll(instances, rest, grpc_port, calls=calls, console=console)
        finally:
            proxied.terminate()
            proxied.wait()
    finally:
        for instance in instances:
            instance.kill()


def report(ended: Counter[tuple[str, str]]) -> Table:
    table = Table("protocol", "outcome", "calls")
    for (protocol, outcome), count in sorted(ended.items()):
        table.add_row(protocol, outcome, str(count))
    return table


@click.command()
@click.option("--calls", default=6000, show_default=True, help="at least so many, over both protocols")
def main(calls: int) -> None:
    """Restart two services behind HAProxy in turn, under load."""
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        archive = build("swin_digits", Path(scratch))
        load = asyncio.run(run(archive, Path(scratch), calls=calls, console=console))
    console.print(report(load.ended))
    failed = sum(count for (_, outcome), count in load.ended.items() if outcome != OK)
    console.print(f"{failed} of {load.ended.total()} calls failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
