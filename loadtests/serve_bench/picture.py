"""Figures -> two PNGs: throughput of every side, and where a call's time goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figures import Figures
from .goals import MANY, NULL
from .rows import IN_PROCESS
from .side import DOCUMENTED, OURS, TUNED
from .waterfall import PARTS, waterfall

_PAPER, _INK = "#fbfaf7", "#1f2328"
_COLOURS = {OURS: "#c2410c", TUNED: "#1d4ed8", DOCUMENTED: "#94a3b8"}
_PART_COLOURS = ("#94a3b8", "#6d28d9", "#fbbf24", "#f59e0b", "#0f766e", "#c2410c")


def draw_throughput(figures: Figures, path: Path, title: str) -> None:
    """Raises ImportError when matplotlib is not installed."""
    sides = [each for each in figures.under(MANY) if each[0] not in (IN_PROCESS, NULL)]
    sides.sort(key=lambda each: figures.median(each[0], MANY, "images_per_second", variant=each[1]))
    page, axes = _page(len(sides), title)
    for place, (side, variant) in enumerate(sides):
        rate = figures.median(side, MANY, "images_per_second", variant=variant)
        axes.barh(place, rate, color=_COLOURS[variant])
        axes.text(rate, place, f" {rate:.1f}", va="center", fontsize=8)
    axes.set_yticks(range(len(sides)), [side if variant == OURS else f"{side}, {variant}" for side, variant in sides])
    ceiling = figures.median(IN_PROCESS, "batch 8", "images_per_second")
    axes.axvline(ceiling, color=_INK, linestyle=":", linewidth=1)
    axes.text(ceiling, -0.9, f"engine with decode, alone: {ceiling:.1f} ", ha="right", fontsize=8)
    axes.set_xlabel("images per second, 32 callers")
    _save(page, path)


def draw_waterfall(figures: Figures, path: Path, title: str) -> None:
    """Raises ImportError when matplotlib is not installed."""
    shown = [(side, load) for side in ("gRPC", "REST") for load in figures.loads(side, OURS)]
    page, axes = _page(len(shown), title)
    for place, (side, load) in enumerate(reversed(shown)):
        left = 0.0
        for (part, value), colour in zip(waterfall(figures, side, load).items(), _PART_COLOURS, strict=True):
            axes.barh(place, value, left=left, color=colour, label=part if not place else None)
            left += value
        axes.text(left, place, f" {left:.0f} ms", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [f"{side}, {load}" for side, load in reversed(shown)])
    axes.set_xscale("symlog", linthresh=20)  # 32 callers wait twenty times as long as one
    axes.set_xlabel("milliseconds of a call, means; logarithmic from 20 on")
    page.legend(ncols=len(PARTS), fontsize=8, loc="outside lower center")
    _save(page, path)


def _page(bars: int, title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    page = Figure(figsize=(9, 1.3 + 0.36 * bars), layout="constrained", facecolor=_PAPER)
    axes = page.subplots()
    axes.set_facecolor(_PAPER)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return page, axes


def _save(page: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page.savefig(path, dpi=130)


def written(figures: Figures, base: Path, title: str) -> Sequence[Path]:
    """Both pictures beside the CSV."""
    paths = [base.with_name(f"{base.stem}-{what}.png") for what in ("throughput", "waterfall")]
    draw_throughput(figures, paths[0], title)
    draw_waterfall(figures, paths[1], title)
    return paths
