"""Why nothing was built, as click shows it: one message and the exit code."""

from __future__ import annotations

import click


class BuildRefused(click.ClickException):
    """Bad input: exit code 2."""

    exit_code = 2


class HubUnreachable(click.ClickException):
    """The weights cannot be fetched: exit code 3 and the two ways out."""

    exit_code = 3

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"the weights of {name} cannot be fetched from the Hugging Face hub: {reason}\n"
            "Two ways out:\n"
            f"  swinserve build {name} --checkpoint FILE    weights that are on this machine already\n"
            f"  swinserve build {name} --random-weights     for benchmarks: right speed, meaningless answers"
        )


class CacheUnusable(click.ClickException):
    """The disk, not the hub, is at fault: exit code 1."""

    exit_code = 1

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(
            f"the Hugging Face hub's cache in {folder} cannot be used: {reason}\n"
            "HF_HOME or HF_HUB_CACHE names another folder."
        )
