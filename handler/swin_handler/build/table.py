"""How the builder's tables look; the client's are the same, which this part does not import."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

COLUMNS_WITHOUT_TERMINAL = 160
"""A pipe has no width; rich would take 80 columns and break names in two."""


def console() -> Console:
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = COLUMNS_WITHOUT_TERMINAL
    return made


def table(*headers: str, numbers: tuple[str, ...] = ()) -> Table:
    """A table of texts, which fold, and of numbers, which are right-aligned and do not."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        number = header in numbers
        # Fold, never shorten: half a name builds nothing.
        made.add_column(header, overflow="fold", justify="right" if number else "left", no_wrap=number)
    return made


def short(number: int) -> str:
    """4494405120 -> 4.49 G"""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.2f} {name}"
    return str(number)


def size(edges: tuple[int, ...]) -> str:
    """(224, 224) -> 224×224"""
    return "×".join(map(str, edges))
