"""Every peer that can be measured."""

from __future__ import annotations

from .answer import label_scores, only_label_scores, triton_scores
from .peer import Peer
from .post import json_base64, msgpack, multipart, raw, triton

_TRITON = "/v2/models/Swin/infer"

PEERS = (
    Peer("fastapi", "documented", "/predict", multipart("file"), label_scores, ("fastapi", "uvicorn")),
    Peer("fastapi", "tuned", "/predict", raw, label_scores, ("fastapi", "uvicorn")),
    Peer("litserve", "documented", "/predict", json_base64("image_data"), label_scores, ("litserve",)),
    Peer("litserve", "tuned", "/predict", raw, label_scores, ("litserve",)),
    Peer("torchserve", "documented", "/predictions/swin", raw, label_scores, ("torchserve",)),
    Peer("torchserve", "tuned", "/predictions/swin", raw, label_scores, ("torchserve",)),
    Peer("mosec", "documented", "/inference", msgpack("image"), label_scores, ("mosec",)),
    Peer("mosec", "tuned", "/inference", raw, label_scores, ("mosec",)),
    Peer("bentoml", "documented", "/classify", multipart("image"), label_scores, ("bentoml",)),
    Peer("bentoml", "tuned", "/classify", multipart("images"), only_label_scores, ("bentoml",)),
    Peer("pytriton", "documented", _TRITON, triton("image", text=False), triton_scores, ("nvidia-pytriton", "numpy")),
    Peer("pytriton", "tuned", _TRITON, triton("image", text=True), triton_scores, ("nvidia-pytriton", "numpy")),
)


def find(name: str, variant: str) -> Peer:
    """Raises KeyError."""
    return {(peer.name, peer.variant): peer for peer in PEERS}[name, variant]
