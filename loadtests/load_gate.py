"""Locust for a short time on a fresh service, or on one that runs -> exit code, CSV, Locust's report, our pictures.

    python loadtests/load_gate.py                                     0 if the SLO was kept, 3 if not
    python loadtests/load_gate.py --url http://… --grpc-url grpc://… --time 2m --users 64 --shape steps

What it does not know itself (--shape, --rate, --tags, names of users) it hands on to Locust.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click
from knee import draw, levels, read
from running import build, serving

HERE = Path(__file__).resolve().parent
GRACE_SECONDS = 15
"""For what is under way at the end."""


@contextmanager
def target(url: str, grpc_url: str) -> Iterator[tuple[str, str]]:
    """The service's REST and gRPC addresses; one of our own, on the default model, where none is given."""
    if url:
        yield url, grpc_url or f"grpc://{urlsplit(url).hostname}:8001"
        return
    with tempfile.TemporaryDirectory() as folder:
        print("Building the default model and starting a service …", flush=True)
        with serving(build("swin_digits", Path(folder), "--no-tune")) as service:
            yield service.http, service.grpc


def load(url: str, grpc_url: str, prefix: Path, *, processes: int, options: Sequence[str]) -> int:
    """Locust's exit code. Ctrl-C ends it early, with what it measured until then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "locust", "--locustfile", str(HERE / "locustfile.py"), "--headless"]
    command += ["--host", url, "--grpc-url", grpc_url, "--only-summary", "--stop-timeout", str(GRACE_SECONDS)]
    command += ["--csv", str(prefix), "--csv-full-history", "--html", f"{prefix}.html"]
    command += ["--processes", str(processes), "--master-bind-host", "127.0.0.1"]
    command += ["--master-bind-port", port, "--master-port", port, *options]
    # In a group of its own, so that Ctrl-C reaches it once, from here, and not also each of its workers and the service
    # that they still call.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0) as locust:
        try:
            return locust.wait()
        except KeyboardInterrupt:
            with contextlib.suppress(ProcessLookupError):
                locust.send_signal(signal.SIGINT)
            return locust.wait() or 130


def pictures(prefix: Path) -> list[Path]:
    """Over time; and over the load, where several levels of it were held."""
    history, drawn = Path(f"{prefix}_stats_history.csv"), []
    moments = read(history) if history.exists() else []  # there is none where Locust refused its options
    if moments:
        drawn.append(Path(f"{prefix}.png"))
        draw(moments, drawn[-1], over_time=True)
    if len(held := levels(moments)) > 1:
        drawn.append(Path(f"{prefix}_knee.png"))
        draw(held, drawn[-1], over_time=False)
    return drawn


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--url", default="", help="of a running service  [default: a fresh one]")
@click.option("--grpc-url", default="", help="beside --url  [default: port 8001 of the same host]")
@click.option("--users", default="8", show_default=True)
@click.option("--time", default="30s", show_default=True)
@click.option("--processes", default=max(1, len(os.sched_getaffinity(0)) // 2), show_default=True, help="of Locust")
@click.option("--slo", type=click.Path(), default=HERE / "slo.toml", help='limits  [default: slo.toml; "" for none]')
@click.option("--output", type=click.Path(path_type=Path), default=HERE.parent / "out" / "load", show_default=True)
@click.argument("locust", nargs=-1, type=click.UNPROCESSED)
def main(
    url: str, grpc_url: str, users: str, time: str, processes: int, slo: str, output: Path, locust: Sequence[str]
) -> None:
    """Load the service for a short time and judge what it answers."""
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("load[._]*"):
        old.unlink()
    prefix = output / "load"
    options = ["--users", users, "--spawn-rate", users, "--run-time", time, "--slo", str(slo), *locust]
    with target(url, grpc_url) as (http, grpc):
        code = load(http, grpc, prefix, processes=processes, options=options)
    report = [Path(f"{prefix}.html"), *sorted(output.glob("load_*.csv")), *pictures(prefix)]
    print(*(path for path in report if path.exists()), sep="\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
