"""Checks -> the table of `swinserve doctor`, and one line that sums it up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.text import Text

from .table import new_table, show

if TYPE_CHECKING:
    from .doctor import Check

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def print_checks(checks: Sequence["Check"]) -> None:
    """One row a check; what to do stands below what was found."""
    table = new_table("Check", "Verdict", "Found, and what to do")
    for check in checks:
        found = Text(check.found)
        if check.advice:
            found.append(f"\n→ {check.advice}", style="bold")
        table.add_row(Text(check.what), Text(check.verdict, style=STYLES[check.verdict]), found)
    show(table)
    click.echo(f"\n{_sum(checks)}")


def _sum(checks: Sequence["Check"]) -> str:
    failed, warned = (sum(check.verdict == verdict for check in checks) for verdict in ("fail", "warn"))
    if failed:
        return f"{failed} of {len(checks)} checks failed, {warned} warned."
    return f"Nothing failed; {warned} of {len(checks)} checks warned." if warned else "Everything is well."
