"""Where a call's time goes, from its mean times: the parts add up to what the caller waited."""

from __future__ import annotations

from .figures import Figures

PARTS = ("client and network", "gateway, way back", "queue", "batch wait", "decode", "inference")
_STAGES = ("queue_ms", "batch_wait_ms", "decode_ms", "inference_ms")


def waterfall(figures: Figures, side: str, load: str) -> dict[str, float]:
    """Milliseconds by part; means of the rounds' means.

    The gateway times a call from its first byte to the answer ready, the worker its stages; what is left of the one
    after the other is the gateway's own work and the answer's way back through TorchServe.
    """
    waited, request = (figures.mean(side, load, name) for name in ("mean_ms", "request_ms"))
    stages = [figures.mean(side, load, name) for name in _STAGES]
    return dict(zip(PARTS, (waited - request, request - sum(stages), *stages), strict=True))
