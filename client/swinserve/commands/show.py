"""What became of each file -> standard output, as it comes."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import click

from .outcome import FileOutcome
from .without_class import without_class

FILES = 100
"""In one table: its columns fit them all, and what is many is shown as it comes instead of being kept until the end."""


def nothing(found: Iterable[FileOutcome]) -> None:
    for _ in found:
        pass


def lines(found: Iterable[FileOutcome]) -> None:
    """JSON."""
    for outcome in found:
        click.echo(outcome.json())


def tables(found: Iterable[FileOutcome], how: Mapping[str, Any]) -> None:
    """Of what is good. `how` it was asked may tell why there is no class."""
    from .table import print_outcomes

    rest = iter(found)
    while True:
        done: list[FileOutcome] = []
        try:
            done.extend(islice(rest, FILES))
        finally:
            # What was classified before the service went away, or ctrl-C, has been paid for. `extend` keeps it.
            good = [outcome for outcome in done if outcome.error is None]
            print_outcomes(good, without_class(how, good))
        if len(done) < FILES:
            return
