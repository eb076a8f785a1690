"""A process that fetches weights: the hub's client reads its environment when it is imported."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.handler.fake_hub import environment

REPOSITORY = "timm/some_vit.of_somebody"
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
# The client writes and resumes in steps of 10 MiB.
STEP = 10 * 1024 * 1024
CONTENT = random.Random(1).randbytes(2 * STEP + 4711)
SMALL_CONTENT = CONTENT[:4711]

FETCH = """
import click
from swin_handler.build import hub

@click.command()
@click.argument("repository")
def fetch(repository):
    found = hub.fetch({"hf_hub_id": repository, "url": ""}, "some_vit")
    click.echo(f"{found.source}\\n{found.path}")

fetch()
"""


def fetch(
    home: Path, endpoint: str, *, repository: str = REPOSITORY, first: str = "", **given: str
) -> subprocess.CompletedProcess[str]:
    """`first`: Python that is run before; `given`: more of the environment."""
    return subprocess.run(
        [sys.executable, "-c", first + FETCH, repository],
        env={**os.environ, **environment(home, endpoint), **given},
        capture_output=True,
        text=True,
        timeout=60,
    )


def fetched(done: subprocess.CompletedProcess[str], content: bytes = CONTENT, repository: str = REPOSITORY) -> Path:
    """The file, which holds `content`."""
    assert done.returncode == 0, done.stderr
    source, path = done.stdout.splitlines()
    assert source == f"hub {repository}"
    assert Path(path).read_bytes() == content
    return Path(path)


def refused(done: subprocess.CompletedProcess[str], *reasons: str) -> None:
    assert done.returncode == 3, done.stderr
    for text in (*reasons, "swinserve build some_vit --checkpoint FILE", "swinserve build some_vit --random-weights"):
        assert text in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def partial_files(home: Path) -> list[Path]:
    return list(home.rglob("*.incomplete"))
