"""The peers' sides: each server in its own environment, asked over HTTP as it wants to be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import psutil
from peers.peer import Peer
from rich.console import Console

from .load import Call, Stages
from .side import DOCUMENTED, TUNED, Side

VARIANTS = {"documented": DOCUMENTED, "tuned": TUNED}
_PATIENCE = 120.0  # seconds: at 32 callers the slowest takes several to answer


@asynccontextmanager
async def peers_served(model: Path, peers: Sequence[Peer], images: Sequence[bytes]) -> AsyncIterator[list[Side]]:
    """All of them at once; model: what every peer serves (see peers/model_folder.py)."""
    console = Console(stderr=True)
    limits = httpx.Limits(max_connections=None)
    with ExitStack() as servers:
        async with httpx.AsyncClient(timeout=_PATIENCE, limits=limits) as http:
            sides = []
            for peer in peers:
                console.print(f"starting {peer.name}, {peer.variant}: {dict(peer.versions())}")
                running = servers.enter_context(peer.serving(model, images[0]))
                server = {"server": psutil.Process(running.pid)}
                sides.append(Side(peer.name, VARIANTS[peer.variant], _call(http, running.url, peer, images), server))
            yield sides


def _call(http: httpx.AsyncClient, url: str, peer: Peer, images: Sequence[bytes]) -> Call:
    posts = {image: peer.form(image) for image in images}  # made ahead: it is not what is measured

    async def call(image: bytes) -> Stages:
        post = posts[image]
        answer = await http.post(url, content=post.body, headers=dict(post.headers))
        answer.raise_for_status()
        peer.scores(answer.content)
        return {}

    return call
