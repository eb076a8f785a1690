"""Answers in int8 against those in float32, on images: how often they agree, and by how much they differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track

from swin_handler.build import table
from swin_handler.build.calibration import UNKNOWN
from swin_handler.outputs import Outputs

LEAST = 0.99
"""Share of the images whose best class must be the same, if the user does not say otherwise."""
_CONFIDENT = 1.96
"""Standard deviations that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Agreement:
    images: int
    same: int
    """Images with the same best class."""
    largest_score_change: float
    """Of any class of any image; scores are softmax probabilities."""
    relative_l2: float
    """Of the logits."""
    known: int
    """Images whose class is known; of these the best class was right:"""
    right_float32: int
    right: int

    @property
    def share(self) -> float:
        return self.same / self.images


def answers(
    run: Callable[[torch.Tensor], Outputs], pixels: torch.Tensor, *, batch: int, what: str, console: Console
) -> torch.Tensor:
    """Logits (N, classes) of pixels uint8 (N, H, W, 3); run: an engine's, a backend's in the bucket `batch`, or eager
    PyTorch. `what` names it beside the progress bar."""
    logits = []
    starts = range(0, len(pixels), batch)
    with torch.inference_mode():
        for start in track(starts, description=what, console=console, transient=True):
            part = pixels[start : start + batch]
            padded = torch.cat([part, part.new_zeros(batch - len(part), *part.shape[1:])])
            logits.append(run(padded).logits[: len(part)])
    return torch.cat(logits)


def measure(actual: torch.Tensor, expected: torch.Tensor, truth: torch.Tensor) -> Agreement:
    """actual, expected: logits (N, classes) in int8 and in float32; truth: long (N,), UNKNOWN where nobody knows"""
    best, best_float32 = actual.argmax(dim=1), expected.argmax(dim=1)
    return Agreement(
        images=len(expected),
        same=int((best == best_float32).sum()),
        largest_score_change=float((actual.softmax(dim=1) - expected.softmax(dim=1)).abs().max()),
        relative_l2=float((actual - expected).norm() / expected.norm()),
        known=int((truth != UNKNOWN).sum()),
        right_float32=int((best_float32 == truth).sum()),
        right=int((best == truth).sum()),
    )


def show(found: dict[str, Agreement], console: Console) -> None:
    """found: backend -> its agreement; one column each"""
    made = table.table("int8 by", *found, numbers=tuple(found))
    for what, of in _ROWS.items():
        made.add_row(what, *map(of, found.values()))
    console.print(
        made, "", "Against float32, on images that nothing was calibrated with. Off by: relative L2 of logits."
    )


def refusal(agreement: Agreement, least: float) -> str | None:
    """Why int8 may not serve, one line for a person; None: it agrees with float32 on enough images."""
    if agreement.share >= least:
        return None
    return (
        f"int8 answers as float32 does on {_share(agreement.same, agreement.images)} images, --min-agreement asks for "
        f"{least:.1%}: calibrate with more images that are like those served, or take bfloat16"
    )


def interval(same: int, images: int) -> tuple[float, float]:
    """Where the share lies with 95 % confidence: Wilson's score interval (doi 10.1080/01621459.1927.10502953)."""
    share, spread = same / images, _CONFIDENT**2 / images
    middle = share + spread / 2
    reach = _CONFIDENT * math.sqrt(share * (1 - share) / images + spread / images / 4)
    low, high = ((middle + sign * reach) / (1 + spread) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "not known"


_ROWS: dict[str, Callable[[Agreement], str]] = {
    "Same class": lambda of: _share(of.same, of.images),
    "95 % interval": lambda of: "{:.1%} – {:.1%}".format(*interval(of.same, of.images)),
    "Largest score change": lambda of: f"{of.largest_score_change:.3f}",
    "Off by": lambda of: f"{of.relative_l2:.0e}",
    "Right": lambda of: _share(of.right, of.known),
    "Right in float32": lambda of: _share(of.right_float32, of.known),
}
