"""Figures -> a PNG: images per second of every contender, a panel for each model and dtype, the floor as a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figures import Figure
from .floor import FLOOR
from .groups import CROSS, DTYPES, MODELS

_COLOURS = {
    "ours": "#c2410c",
    "OpenVINO": "#0f766e",
    "onnxruntime": "#6d28d9",
    "timm compiled + freezing": "#1d4ed8",
    "timm compiled": "#60a5fa",
    "timm eager": "#94a3b8",
}
"""Of the first name that the contender's starts with. A panel is opaque and light, so that it reads on any page."""
_PAPER, _INK = "#fbfaf7", "#1f2328"


def draw(figures: Sequence[Figure], path: Path, title: str) -> None:
    """Raises ImportError when matplotlib is not installed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [figure for figure in figures if not _is_cross(figure)]
    models = [model for model in (*MODELS, "micro") if any(figure.model == model for figure in shown)]
    dtypes = [dtype for dtype in DTYPES if any(figure.dtype == dtype for figure in shown)]
    with pyplot.rc_context({"font.size": 9, "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK}):
        page, panels = pyplot.subplots(
            len(models), len(dtypes), squeeze=False, figsize=(4.6 * len(dtypes), 2.7 * len(models) + 0.9)
        )
        for row, model in enumerate(models):
            for column, dtype in enumerate(dtypes):
                mine = [figure for figure in shown if (figure.model, figure.dtype) == (model, dtype)]
                _panel(panels[row][column], mine, f"{model}, {dtype}")
        _legend(page, panels.flat)
        page.suptitle(title, fontsize=10)
        page.set_facecolor(_PAPER)
        page.tight_layout(rect=(0, 0.9 / (2.7 * len(models) + 0.9) * 0.6, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        page.savefig(path, dpi=110, facecolor=_PAPER)
        pyplot.close(page)


def _panel(axes: Any, figures: Sequence[Figure], title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_facecolor(_PAPER)
    axes.set_ylabel("images/s")
    axes.grid(axis="y", color=_INK, alpha=0.15)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    batches = sorted({figure.batch for figure in figures})
    axes.set_xticks(range(len(batches)), [f"batch {batch}" for batch in batches])
    for place, batch in enumerate(batches):
        _bars(axes, [figure for figure in figures if figure.batch == batch], place)


def _bars(axes: Any, figures: Sequence[Figure], place: int) -> None:
    """Bars to the median, a whisker to the best; the floor across all of them."""
    bars = [figure for figure in figures if figure.contender != FLOOR]
    width = 0.84 / max(len(bars), 1)
    for index, figure in enumerate(bars):
        x = place - 0.42 + (index + 0.5) * width
        style = {"color": _colour(figure.contender), "label": figure.contender, "hatch": _hatch(figure.contender)}
        axes.bar(x, figure.median, 0.9 * width, edgecolor=_PAPER, linewidth=0.5, **style)
        axes.plot([x, x], [figure.median, figure.best], color=_INK, linewidth=0.9)
    for floor in (figure for figure in figures if figure.contender == FLOOR):
        across = [place - 0.45, place + 0.45]
        axes.plot(across, [floor.best] * 2, color=_INK, linestyle="--", linewidth=1.2, label="floor (best)")


def _legend(page: Any, panels: Any) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    page.legend(found.values(), found.keys(), loc="lower center", ncols=5, frameon=False, fontsize=8)


def _colour(contender: str) -> str:
    return next((colour for start, colour in _COLOURS.items() if contender.startswith(start)), _INK)


def _hatch(contender: str) -> str:
    """Tells contenders of one colour apart."""
    hatches = {
        "ours, inductor": "///",
        "ours, openvino": "...",
        "ours, eager": "xxx",
        "timm eager, fused attention": "///",
    }
    return hatches.get(contender, "")


def _is_cross(figure: Figure) -> bool:
    return figure.group == CROSS.format(batch=figure.batch)
