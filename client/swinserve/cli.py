"""The command `swinserve`: finds its subcommands, and turns what goes wrong into one line and an exit code."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, NoReturn

import click

from .commands.bench import bench
from .commands.classify import classify
from .commands.completion import completion
from .commands.doctor import doctor
from .commands.served import served
from .errors import UNREACHABLE, SwinserveError, Unauthenticated, Unavailable

EXIT_CODES = """\b
Exit codes:
  0    everything was done
  1    something failed, such as one of the files; it is listed
  2    the command line is wrong, or the command needs an extra that is not installed
  3    the service (or what else the command needs from the network) is unreachable or not ready
  130  interrupted with ctrl-C
"""


WIDTH = 100
"""Columns of the help on terminals that have them."""


class Extra(NamedTuple):
    """What can be said of a command whose packages may be absent."""

    help: str
    name: str


# Reading a command's own help would import torch; a command that is not listed here shows its package's name.
EXTRAS = {
    "build": Extra("Build a model archive, from a name or a checkpoint.", "serve"),
    "info": Extra("Describe a model: size, cost, preprocessing, weights.", "serve"),
    "models": Extra("List what can be built, and what is.", "serve"),
    "serve": Extra("Start the service: TorchServe behind its gateway.", "serve"),
    "token": Extra("Make a bearer token for callers of the service.", "serve"),
    "tune": Extra("Time an archive's backends here, and keep the fastest.", "serve"),
}
SECTIONS = {
    "Ask a service": ("classify", "served", "bench"),
    "Make models": ("models", "info", "build", "tune"),
    "Run a service": ("doctor", "serve", "token"),
}
"""Of the help; whatever is in none of them is in a last one."""


class DeferredCommand(click.Command):
    """Stands for a subcommand of another part and imports it only when it is called."""

    def __init__(self, entry: EntryPoint) -> None:
        origin = entry.dist.name if entry.dist else entry.module
        extra = EXTRAS.get(entry.name, Extra(f"(from {origin})", "serve"))
        super().__init__(entry.name, help=extra.help)
        self.entry, self.extra = entry, extra.name

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        *,
        resilient_parsing: bool = False,
        **extra: Any,
    ) -> click.Context:
        try:
            command = self.entry.load()
        except ModuleNotFoundError:
            if not resilient_parsing:
                raise
            # A shell asks what could come next: nothing, without the extra.
            return super().make_context(info_name, args, parent, resilient_parsing=True, **extra)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.entry.value} is not a click command")
        # click then runs the context's command, which is the real one, with its own options and help.
        return command.make_context(info_name, args, parent, resilient_parsing=resilient_parsing, **extra)

    def explain(self, error: ModuleNotFoundError) -> str:
        """What to install; "" when a module of the command's own package is missing, for which no extra helps."""
        if error.name is None or error.name.partition(".")[0] == self.entry.module.partition(".")[0]:
            return ""
        need = f"this command needs `pip install 'swinserve[{self.extra}]'`"
        return f"swinserve {self.name}: {need} (there is no module {error.name!r})"


class Frame(click.Group):
    """The commands of the client and those that other parts announce; and the one place where errors become exits."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group="swinserve.commands").names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = entry_points(group="swinserve.commands", name=cmd_name)
        return DeferredCommand(next(iter(found))) if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        there = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        grouped = {name for names in SECTIONS.values() for name in names}
        for title, names in {**SECTIONS, "Other": [name for name in there if name not in grouped]}.items():
            with formatter.section(title):
                commands = [(name, command) for name in names if (command := there.get(name)) is not None]
                formatter.write_dl([(name, command.get_short_help_str(WIDTH)) for name, command in commands])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SwinserveError as error:
            _leave(error)
        except ModuleNotFoundError as error:
            # Caught here because a command may import what is heavy only once it runs.
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            if not isinstance(command, DeferredCommand) or not (explanation := command.explain(error)):
                raise
            click.echo(explanation, err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            ctx.exit(130)


# What is in the message of a service that could not be reached -> what to say beside it; the first that fits.
HINTS = {
    "wrong version number": "; does it speak TLS?",
    "certificate": "",
    "refused": "; start it with `swinserve serve`, or name another one",
    "socket closed": "; does it speak TLS, or want a certificate?",
    "disconnected": "; does it speak TLS?",
    "reset": "; does it speak TLS?",
    "handshake": "; does it speak TLS?",
}


def _leave(error: SwinserveError) -> NoReturn:
    unreachable = error.reason == UNREACHABLE
    hints = (hint for words, hint in HINTS.items() if words in error.message.lower().replace("_", " "))
    text = error.message + next(hints, "") if unreachable else str(error)
    if isinstance(error, Unauthenticated):
        text += "; the command line sends what SWINSERVE_TOKEN holds"
    click.echo(f"swinserve: {' '.join(text.split())}", err=True)
    raise click.exceptions.Exit(3 if isinstance(error, Unavailable) else 1) from error


@click.group(
    cls=Frame, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
)
@click.version_option(package_name="swinserve", message="%(prog)s %(version)s")
def main() -> None:
    """Classify images with a Swin Transformer service, and run such a service.

    `swinserve COMMAND --help` tells more about each.
    """


for command in (bench, classify, completion, doctor, served):
    main.add_command(command)
