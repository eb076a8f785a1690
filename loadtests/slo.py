"""What a run measured and an SLO file -> a verdict on each limit.

The file is TOML, a table for each request name ("REST classify"), with any of the limits below in it.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from locust.stats import RequestStats, StatsEntry

SENDS = ("sends", "open loop")
"""The name and type of Locust's entry for an open loop's sends: their lateness, and as failures those not sent."""
MIN_SENT = 0.98
"""Of what an open loop offers; a run that sends less has measured the load generator."""


@dataclass(frozen=True)
class Limits:
    max_error_ratio: float = math.inf
    """Of all calls of the name."""
    max_shed_ratio: float = math.inf
    """Refused for overload, which is no error."""
    max_p50_seconds: float = math.inf
    max_p99_seconds: float = math.inf
    min_per_second: float = 0.0
    """Calls that were not shed. A name that was never called breaks its SLO in any case."""


@dataclass(frozen=True)
class Figures:
    """Of one request name."""

    per_second: float
    """Not shed; of these"""
    errors_per_second: float
    shed_per_second: float
    p50_seconds: float
    """Of what was not shed."""
    p99_seconds: float

    @property
    def error_ratio(self) -> float:
        return self.errors_per_second / called if (called := self.per_second + self.shed_per_second) else 0.0

    @property
    def shed_ratio(self) -> float:
        return self.shed_per_second / called if (called := self.per_second + self.shed_per_second) else 0.0


@dataclass(frozen=True)
class Verdict:
    name: str
    limit: str
    measured: float
    allowed: float

    @property
    def kept(self) -> bool:
        """A figure that is NaN keeps nothing."""
        return self.measured >= self.allowed if self.limit.startswith("min_") else self.measured <= self.allowed


def load(path: Path) -> dict[str, Limits]:
    """Raises ValueError naming a key that is no limit, or a value that is no number."""
    known = sorted(field.name for field in dataclasses.fields(Limits))
    slo = {}
    for name, table in tomllib.loads(path.read_text()).items():
        if not isinstance(table, dict) or (unknown := set(table) - set(known)):
            what = sorted(unknown) if isinstance(table, dict) else [name]
            raise ValueError(f"{path}: {', '.join(what)}: no limit of a request name; limits are {', '.join(known)}")
        for key, value in table.items():
            if not isinstance(value, int | float):
                raise ValueError(f"{path}: {name}: {key} is a number, not {value!r}")
        slo[name] = Limits(**table)
    return slo


def verdicts(slo: Mapping[str, Limits], measured: Mapping[str, Figures]) -> Iterator[Verdict]:
    """One for each limit that is set."""
    for name, limits in slo.items():
        figures = measured.get(name, Figures(0.0, 0.0, 0.0, math.nan, math.nan))
        if not figures.per_second:
            yield Verdict(name, "min_calls", 0, 1)
            continue
        for field in dataclasses.fields(limits):
            if (allowed := getattr(limits, field.name)) != field.default:
                yield Verdict(name, field.name, getattr(figures, field.name[4:]), allowed)


def broken_now(found: Iterable[Verdict]) -> Verdict | None:
    """The first limit that a load still growing has broken: a low rate breaks none, nor what has no figure yet."""
    late = (each for each in found if not each.limit.startswith("min_") and math.isfinite(each.measured))
    return next((each for each in late if not each.kept), None)


def figures(stats: RequestStats, *, current: bool = False) -> dict[str, Figures]:
    """Locust's statistics of the whole run, or of its last seconds."""
    calls = [entry for key, entry in stats.entries.items() if key != SENDS and not entry.name.endswith(" shed")]
    return {f"{entry.method} {entry.name}": _figures(stats, entry, current) for entry in calls}


def _figures(stats: RequestStats, entry: StatsEntry, current: bool) -> Figures:
    shed = stats.entries.get((f"{entry.name} shed", entry.method))
    rate = "current_rps" if current else "total_rps"
    percentile = entry.get_current_response_time_percentile if current else entry.get_response_time_percentile
    milliseconds = [percentile(share) for share in (0.5, 0.99)]
    return Figures(
        per_second=getattr(entry, rate),
        errors_per_second=entry.current_fail_per_sec if current else entry.total_fail_per_sec,
        shed_per_second=getattr(shed, rate) if shed else 0.0,
        p50_seconds=math.nan if milliseconds[0] is None else milliseconds[0] / 1000,
        p99_seconds=math.nan if milliseconds[1] is None else milliseconds[1] / 1000,
    )


def sent(stats: RequestStats) -> Iterator[Verdict]:
    """Whether an open loop sent what it offered; nothing where there was none."""
    if (entry := stats.entries.get(SENDS)) and entry.num_requests:
        yield Verdict("open loop", "min_sent_ratio", 1 - entry.num_failures / entry.num_requests, MIN_SENT)
