"""What a load measured -> a table for people, JSON or CSV for programs."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from swinserve.results import Classification

from .load import STAGES, Measured, Plan
from .table import new_table, show

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
REST = "rest"
"""Of a call: all that is none of the service's stages."""
ROWS = {"call": "whole call", **{stage: f"  {stage.replace('_', ' ')}" for stage in STAGES}, REST: "  the rest"}


@dataclass(frozen=True)
class Report:
    url: str
    served: Classification
    """The answer to a call before: who serves."""
    images: str
    """In words."""
    plan: Plan
    measured: Measured
    interrupted: bool

    def facts(self) -> dict[str, Any]:
        """Everything, in base units; the names are also the columns of CSV."""
        plan, measured = self.plan, self.measured
        served = {name: getattr(self.served, name) for name in ("model", "version", "backend", "dtype")}
        asked = {name: getattr(plan, name) for name in ("images_per_call", "concurrency", "rate", "warm_up")}
        return {
            **{"url": self.url, **served, **asked},
            **{"seconds": measured.seconds, "interrupted": self.interrupted},
            **{"calls": len(measured.columns["call"]), "images": measured.images},
            **{"images_per_second": self._images_per_second()},
            **{"failed": measured.errors.total(), "not_sent": measured.not_sent},
            **{f"{row}_{name}_seconds": value for row, of in self._quantiles().items() for name, value in of.items()},
            "errors": dict(measured.errors),
        }

    def csv(self) -> str:
        """A line of names and a line of values; errors as REASON=images."""
        facts = self.facts()
        facts["errors"] = " ".join(f"{reason}={images}" for reason, images in facts["errors"].items())
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows((facts.keys(), facts.values()))
        return text.getvalue().rstrip("\n")

    def print(self) -> None:
        plan, measured, served = self.plan, self.measured, self.served
        click.echo(f"{self.url}: {served.model} {served.version}, {served.backend} in {served.dtype}")
        how = f"{plan.concurrency} calls at a time" if plan.rate is None else f"{plan.rate:g} calls due a second"
        size = "1 image" if plan.images_per_call == 1 else f"{plan.images_per_call} images"
        stopped = ", stopped by ctrl-C" if self.interrupted else ""
        click.echo(f"{how}, {size} each ({self.images}), for {measured.seconds:.1f} s{stopped}\n")
        click.echo(
            f"{self._images_per_second():.1f} images/s: {measured.images} answered, {measured.errors.total()} failed\n"
        )
        self._print_quantiles()
        if measured.not_sent:
            click.echo(
                f"\n{measured.not_sent} calls were due and not sent: {plan.concurrency} were under way (--concurrency)"
            )
        if measured.errors:
            click.echo("")
            table = new_table("Failed", "Images")
            for reason, images in measured.errors.most_common():
                table.add_row(reason, str(images))
            show(table)

    def _print_quantiles(self) -> None:
        table = new_table("Milliseconds")
        for name in QUANTILES:
            table.add_column(name, justify="right", no_wrap=True)
        for row, of in self._quantiles().items():
            table.add_row(ROWS[row], *(f"{1000 * value:.1f}" for value in of.values()))
        show(table)

    def _quantiles(self) -> Mapping[str, Mapping[str, float]]:
        """Row -> quantile -> seconds; nothing if no call was answered."""
        columns = {name: np.asarray(values) for name, values in self.measured.columns.items()}
        if not len(columns["call"]):
            return {}
        columns[REST] = columns["call"] - sum(columns[stage] for stage in STAGES)
        levels = list(QUANTILES.values())
        return {row: dict(zip(QUANTILES, np.quantile(columns[row], levels).tolist(), strict=True)) for row in ROWS}

    def _images_per_second(self) -> float:
        return self.measured.images / self.measured.seconds if self.measured.seconds else 0.0
