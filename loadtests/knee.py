"""Locust's `_stats_history.csv`, written with --csv-full-history -> throughput and p99, over time and over the load."""

from __future__ import annotations

import csv
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HELD_SECONDS = 5
"""A number of users that stays shorter than this is on its way to another."""
SENDS = "open loop sends"
DRAWN = ("classify", "classify shed", "sends")


@dataclass(frozen=True)
class Moment:
    """A second of the run; Locust's figures are those of the ten seconds before."""

    second: int
    """Since the first row."""
    users: int
    per_second: dict[str, float]
    """By request name, e.g. "REST classify"."""
    p99_seconds: dict[str, float]

    @property
    def offered(self) -> float:
        """Users of a closed loop, or calls a second of an open one."""
        return self.per_second.get(SENDS, float(self.users))


def read(history: Path) -> list[Moment]:
    """Seconds without users or answers are left out, and so are malformed files: a p99 of so few tells nothing."""
    with history.open() as file:
        rows = [row for row in csv.DictReader(file) if row["Name"] in DRAWN and row["User Count"] != "0"]
    rows = [row for row in rows if row["99%"] not in ("0", "N/A") or row["Name"] == "sends"]
    moments = []
    for stamp, group in itertools.groupby(rows, key=lambda row: int(row["Timestamp"])):
        found = {f"{row['Type']} {row['Name']}": row for row in group}
        per_second = {name: float(row["Requests/s"]) for name, row in found.items()}
        p99_seconds = {name: int(row["99%"]) / 1000 for name, row in found.items()}
        users = max(int(row["User Count"]) for row in found.values())
        moments.append(Moment(stamp - int(rows[0]["Timestamp"]), users, per_second, p99_seconds))
    return moments


def levels(moments: Iterable[Moment]) -> list[Moment]:
    """The last moment of each number of users that was held, by how much was offered."""
    held = []
    for _, group in itertools.groupby(moments, key=lambda moment: moment.users):
        stay = list(group)
        if stay[-1].second - stay[0].second >= HELD_SECONDS:
            held.append(stay[-1])
    return sorted(held, key=lambda moment: moment.offered)


def knee(held: Sequence[Moment]) -> Moment:
    """The first level that reaches 95 % of the highest throughput: more load gains nothing but waiting."""
    return next(each for each in held if _answered(each) >= 0.95 * max(map(_answered, held)))


def draw(moments: Sequence[Moment], picture: Path, *, over_time: bool) -> None:
    """Throughput and p99 of each request name. Raises ImportError when matplotlib is not installed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    open_loop = any(SENDS in moment.per_second for moment in moments)
    series = defaultdict[str, list[tuple[float, float, float]]](list)
    for moment in moments:
        for name in moment.per_second.keys() - {SENDS}:
            x = moment.second if over_time else moment.offered
            series[name].append((x, moment.per_second[name], moment.p99_seconds[name]))
    for name in sorted(series):
        across, per_second, p99 = zip(*series[name], strict=True)
        style = "--" if name.endswith("shed") else "-"
        above.plot(across, per_second, style, marker="" if over_time else "o", label=name)
        below.plot(across, [1000 * each for each in p99], style, marker="" if over_time else "o")
    if over_time:
        offered = [moment.offered for moment in moments]
        label = "calls a second offered" if open_loop else "users"
        above.plot([moment.second for moment in moments], offered, color="grey", linewidth=0.8, label=label)
    else:
        for axis in (above, below):
            axis.axvline(knee(moments).offered, color="grey", linestyle=":", label="knee")
    above.set_ylabel("calls per second")
    above.set_ylim(bottom=0)
    above.legend()
    below.set_yscale("log")
    below.set_ylabel("p99 in milliseconds" + ",\nfrom when it was due" * open_loop)
    below.set_xlabel("seconds" if over_time else "calls per second offered, open loop" if open_loop else "users")
    figure.savefig(picture, dpi=150)


def _answered(moment: Moment) -> float:
    return sum(rate for name, rate in moment.per_second.items() if name != SENDS and not name.endswith("shed"))
