"""Serving that keeps the engine's speed: ours over gRPC and REST against the engine alone and against other servers.

`make bench-serve BENCH="--rounds 3 --seconds 2"` takes forty minutes with all peers, ten with --no-peers. Everybody
serves the same weights to the same photos; in each round each has its turn while the others are stopped. Besides the
CSV it writes a plot of the throughput and one of where a call's time goes. Ctrl-C ends it with the rounds that are
there.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import click
import photos
import yaml
from bench_gateway import null_archive
from peers.model_folder import unpack
from peers.peer import Peer
from peers.table import PEERS
from rich.console import Console
from running import RESULTS, build, machine, write
from serve_bench import picture, report
from serve_bench.figures import Figures
from serve_bench.goals import NULL, goals
from serve_bench.in_process import in_process
from serve_bench.ours import served
from serve_bench.side import Side
from serve_bench.theirs import openings
from serve_bench.turns import Turns

MODEL = "swin_tiny_patch4_window7_224"
CONFIG = "model-config.yaml"


def arranged(folder: Path, options: str) -> Path:
    """The model's archive built with `options`, of which handler.KEY=VALUE are written into its configuration."""
    words = options.split()
    patches = dict(word.removeprefix("handler.").split("=") for word in words if word.startswith("handler."))
    flags = [word for word in words if not word.startswith("handler.")]
    built = build(MODEL, folder, "--random-weights", "--no-tune", *flags)
    if not patches:
        return built
    patched = folder / "patched.mar"
    with zipfile.ZipFile(built) as source, zipfile.ZipFile(patched, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == CONFIG:
                config = yaml.safe_load(content)
                config["handler"] |= {name: yaml.safe_load(value) for name, value in patches.items()}
                content = yaml.safe_dump(config).encode()
            target.writestr(info, content)
    return patched


async def measure(folder: Path, turns: Turns, *, arrangements: Sequence[str], peers: Sequence[Peer]) -> None:
    archive = build(MODEL, folder / "store", "--random-weights", "--no-tune")
    model = unpack(archive, folder / "model")
    with in_process(model) as ceiling:
        async with AsyncExitStack() as services:
            sides: list[Side] = await services.enter_async_context(served(archive))
            for number, arrangement in enumerate(arrangements):
                name, _, options = arrangement.partition("=")
                other = arranged(folder / f"store-{number}", options)
                sides += await services.enter_async_context(served(other, names=["gRPC"], label=f"gRPC, {name}"))
            null = null_archive(folder, batch_size=8)  # as the model's own
            sides += await services.enter_async_context(served(null, names=["gRPC"], label=NULL))
            await turns.run(sides, openings(model, peers, turns.images), ceiling)


@click.command()
@click.option("--rounds", default=5, show_default=True, help="in which everybody has a turn; one more warms up")
@click.option("--seconds", default=6.0, show_default=True, help="of each load in a turn")
@click.option("--peers/--no-peers", "with_peers", default=True, show_default=True, help="other servers too")
@click.option("--peer", "chosen", multiple=True, metavar="NAME", help="only this one of them; may be repeated")
@click.option(
    "--arrangement",
    "arrangements",
    multiple=True,
    metavar="NAME=OPTIONS",
    help="ours once more, otherwise, as in 'two workers=--workers 2 handler.decode_threads=1'; may be repeated",
)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    rounds: int, seconds: float, with_peers: bool, chosen: Sequence[str], arrangements: Sequence[str], output: Path
) -> None:
    """Measure ours and its peers under load."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no server is left behind
    names = list(dict.fromkeys(peer.name for peer in PEERS))
    if unknown := sorted(set(chosen) - set(names)):
        sys.exit(f"no peer {', '.join(unknown)}; there are {', '.join(names)}")
    peers = [peer for peer in PEERS if with_peers and peer.name in (chosen or names)]
    console = Console(width=160)
    for peer in peers:
        console.print(f"{peer.name}, {peer.variant}: {dict(peer.versions())}")  # makes its environment
    with tempfile.TemporaryDirectory() as folder:
        turns = Turns(photos.mixed(), rounds=rounds, seconds=seconds)
        try:
            asyncio.run(measure(Path(folder), turns, arrangements=arrangements, peers=peers))
        except KeyboardInterrupt:
            console.print("interrupted")
    if not turns.rows:
        sys.exit("no round was finished")
    figures = Figures(turns.rows)
    for table in (report.sides_table(figures), report.waterfall_table(figures)):
        console.print(table)
    console.print(report.goals_table(goals(figures)))
    path = write([asdict(row) for row in turns.rows], "serve" if peers else "serve-ours", output)
    print(path, *picture.written(figures, path, f"Swin-T, JPEG to class, {machine()}"), sep="\n")


if __name__ == "__main__":
    main()
