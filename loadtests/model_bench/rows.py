"""One timed call, as a line of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    group: str
    """What ran interleaved with it; only rows of one group can be compared."""
    model: str
    dtype: str
    batch: int
    threads: int
    contender: str
    round: int
    seconds: float
    """Of one forward pass of the batch."""
    relative_l2: float | None
    """Of its logits, against timm in eager float32; None for the floor, which has none."""
    build_seconds: float
    """To convert, compile and warm."""

    @classmethod
    def parse(cls, line: dict[str, str]) -> Row:
        """Raises KeyError or ValueError when it is not a line of this benchmark."""
        return cls(
            group=line["group"],
            model=line["model"],
            dtype=line["dtype"],
            batch=int(line["batch"]),
            threads=int(line["threads"]),
            contender=line["contender"],
            round=int(line["round"]),
            seconds=float(line["seconds"]),
            relative_l2=float(line["relative_l2"]) if line["relative_l2"] else None,
            build_seconds=float(line["build_seconds"]),
        )

    def as_line(self) -> dict[str, object]:
        return {**asdict(self), "seconds": f"{self.seconds:.6f}", "relative_l2": _short(self.relative_l2)}


def read(files: Iterable[Path]) -> list[Row]:
    """Of all files; where two have the same group, the later file's counts."""
    groups: dict[str, list[Row]] = {}
    for path in files:
        with path.open(newline="") as file:
            found = [Row.parse(line) for line in csv.DictReader(file)]
        for name in dict.fromkeys(row.group for row in found):
            groups[name] = [row for row in found if row.group == name]
    return [row for rows in groups.values() for row in rows]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"
