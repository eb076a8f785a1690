"""A running Prometheus -> a picture of the dashboard's panels, for those who have no Grafana at hand.

python deploy/grafana/draw.py http://127.0.0.1:9090 dashboard.png --minutes 5 --rate-interval 30s

Needs matplotlib, which `make setup` installs.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from dashboard import placed
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, PercentFormatter, ScalarFormatter
from panels import Panel, Query, filled
from PIL import Image

STEPS = 120  # points of a curve
INCHES = (0.62, 0.34)  # of one step of the grid, across and down
MARGINS = (0.65, 0.65, 0.1, 0.25)  # inches: left, below, right, above
UNITS: dict[str, Callable[[], Formatter]] = {
    "s": lambda: EngFormatter(unit="s"),
    "bytes": lambda: EngFormatter(unit="B"),
    "percentunit": lambda: PercentFormatter(1),
}
Series = dict[str, Any]
"""As /api/v1/query_range answers: `metric` (the labels) and `values` ([time, text] each)."""


class Prometheus:
    def __init__(self, url: str, *, minutes: float, rate_interval: str) -> None:
        self._url = url
        self._end = time.time()
        self.seconds = 60 * minutes
        self._rate_interval = rate_interval

    def series(self, query: Query) -> list[Series]:
        """What the query gives over the last minutes. Raises httpx.HTTPStatusError if it is wrong."""
        asked: dict[str, str | float] = {
            "query": filled(query.expr, rate_interval=self._rate_interval),
            "start": self._end - self.seconds,
            "end": self._end,
            "step": max(1.0, self.seconds / STEPS),
        }
        answer = httpx.get(f"{self._url}/api/v1/query_range", params=asked, timeout=30).raise_for_status()
        found: list[Series] = answer.json()["data"]["result"]
        return found

    def ago(self, series: Series) -> list[float]:
        """Seconds before now of each point."""
        return [float(at) - self._end for at, _ in series["values"]]


def named(legend: str, labels: dict[str, str]) -> str:
    """Grafana's legend template, filled in."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend).strip()


def numbers(series: Series) -> list[float]:
    return [float(text) for _, text in series["values"]]


def draw_curves(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    """Lines; stacked areas where the panel's curves add up."""
    found = [
        (named(query.legend, each["metric"]), each) for query in panel.queries for each in prometheus.series(query)
    ]
    floor: dict[float, float] = {}
    for name, series in found:
        x, y = prometheus.ago(series), numbers(series)
        if panel.stacked:
            bottom = [floor.get(at, 0.0) for at in x]
            y = [low + (0.0 if math.isnan(high) else high) for low, high in zip(bottom, y, strict=True)]
            floor.update(zip(x, y, strict=True))
            axes.fill_between(x, bottom, y, alpha=0.4)
        axes.plot(x, y, linewidth=1.2, label=name)
    axes.set_ylim(0, 1.08 * axes.dataLim.y1 if axes.dataLim.y1 > 0 else 1)
    axes.yaxis.set_major_formatter(UNITS.get(panel.unit, ScalarFormatter)())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=3, frameon=False)


def draw_heatmap(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    """How many fell between a bucket's bound and the one below, which is not counted in it."""
    found = {float(each["metric"]["le"]): each for each in prometheus.series(panel.queries[0])}
    bounds = sorted(found)
    columns = [dict(zip(prometheus.ago(found[bound]), numbers(found[bound]), strict=True)) for bound in bounds]
    times = sorted(set[float]().union(*columns))
    upto = [[column.get(at, 0.0) for at in times] for column in columns]
    inside = [
        [max(0.0, high - low) for high, low in zip(row, below, strict=True)]
        for row, below in zip(upto, [[0.0] * len(times), *upto], strict=False)
    ]
    nothing_white = [[each or math.nan for each in row] for row in inside]
    axes.pcolormesh(times, range(len(bounds)), nothing_white, cmap="Oranges", norm=PowerNorm(0.5), shading="nearest")
    axes.set_yticks(range(0, len(bounds), 3), [f"{bound * 1000:g} ms" for bound in bounds[::3]])


def draw_table(axes: Axes, panel: Panel, prometheus: Prometheus) -> None:
    """The labels of each series; they are the facts."""
    rows = [each["metric"] for query in panel.queries for each in prometheus.series(query)]
    lines = [f"{key}: {row[key]}" for row in rows for key in sorted(row) if key not in ("__name__", "job", "instance")]
    axes.text(0.02, 0.95, "\n".join(lines), va="top", fontsize=8, transform=axes.transAxes)
    axes.set_axis_off()


KINDS = {"timeseries": draw_curves, "heatmap": draw_heatmap, "table": draw_table}


def draw(prometheus: Prometheus, picture: Path) -> None:
    """Places the panels as Grafana does."""
    places = placed()
    width, height = 24 * INCHES[0], INCHES[1] * max(at["y"] + at["h"] for _, at in places)
    figure = Figure(figsize=(width, height))
    left, below, right, above = MARGINS
    for what, at in places:
        x, y = at["x"] * INCHES[0], height - (at["y"] + at["h"]) * INCHES[1]
        if isinstance(what, str):
            figure.text(left / 4 / width, (y + INCHES[1] / 4) / height, what, fontsize=12, color="tab:blue")
            continue
        across, up = at["w"] * INCHES[0] - left - right, at["h"] * INCHES[1] - below - above
        axes = figure.add_axes(((x + left) / width, (y + below) / height, across / width, up / height))
        axes.set_xlim(-prometheus.seconds, 0)
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g} s")
        axes.set_title(what.title, fontsize=10, loc="left", fontweight="bold")
        axes.tick_params(labelsize=7)
        KINDS[what.kind](axes, what, prometheus)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=80)
    Image.open(whole).quantize(128).save(picture, optimize=True)  # few colours: a third of the size


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the dashboard's panels from a running Prometheus.")
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate-interval", default="1m", help="at least four scrape intervals")
    asked = parser.parse_args()
    draw(Prometheus(asked.url, minutes=asked.minutes, rate_interval=asked.rate_interval), asked.picture)


if __name__ == "__main__":
    main()
