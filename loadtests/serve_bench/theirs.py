"""The peers' sides: each server in its own environment, asked over HTTP as it wants to be, there for its turn only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
from peers.peer import Peer

from .load import Call, Stages, warm
from .side import CALLERS, DOCUMENTED, TUNED, Opening, Side

VARIANTS = {"documented": DOCUMENTED, "tuned": TUNED}
_PATIENCE = 120.0  # seconds: at 32 callers the slowest takes several to answer
_COLD_SECONDS = 5.0  # before its turn, which begins with the warm-up that everybody has


def openings(model: Path, peers: Sequence[Peer], images: Sequence[bytes]) -> list[Opening]:
    """model: what every peer serves (see peers/model_folder.py). Together they would not fit into memory."""
    return [partial(_open, model, peer, images) for peer in peers]


@asynccontextmanager
async def _open(model: Path, peer: Peer, images: Sequence[bytes]) -> AsyncIterator[Side]:
    limits = httpx.Limits(max_connections=None)
    with peer.serving(model, images[0]) as running:
        async with httpx.AsyncClient(timeout=_PATIENCE, limits=limits) as http:
            call = _call(http, running.url, peer, images)
            await warm(call, images, callers=max(CALLERS), seconds=_COLD_SECONDS)
            version = ", ".join(f"{name} {number}" for name, number in peer.versions().items())
            yield Side(peer.name, VARIANTS[peer.variant], call, {"server": psutil.Process(running.pid)}, version)


def _call(http: httpx.AsyncClient, url: str, peer: Peer, images: Sequence[bytes]) -> Call:
    posts = {image: peer.form(image) for image in images}  # made ahead: it is not what is measured

    async def call(image: bytes) -> Stages:
        post = posts[image]
        answer = await http.post(url, content=post.body, headers=dict(post.headers))
        answer.raise_for_status()
        peer.scores(answer.content)
        return {}

    return call
