"""The click commands -> the page on the command line: what --help prints, at a fixed width."""

from __future__ import annotations

from collections.abc import Iterator

import click
from markdown import page

from swin_gateway.settings import ServeSettings
from swinserve.cli import main

WIDTH = 100
SERVE = "Beside these, `swinserve serve --help` lists every setting: [Settings](settings.md)."
SETTINGS = ServeSettings.model_fields.keys() - {"models"}  # which is the argument


def text() -> str:
    context = click.Context(main, info_name="swinserve", terminal_width=WIDTH, **main.context_settings)
    return page("Command line", "the click commands", _block(main.get_help(context)), *_commands(context))


def _commands(context: click.Context) -> Iterator[str]:
    for name in main.list_commands(context):
        yield f"## swinserve {name}"
        found = main.get_command(context, name)
        assert found is not None, name
        entry = getattr(found, "entry", None)  # of a command that is imported when it is called
        command: click.Command = entry.load() if entry else found
        if name == "serve":
            command.params = [each for each in command.params if each.name not in SETTINGS]
            yield SERVE
        yield _block(command.get_help(click.Context(command, info_name=name, parent=context, terminal_width=WIDTH)))


def _block(help_text: str) -> str:
    lines = [line.rstrip() for line in help_text.splitlines()]
    return "```text\n" + "\n".join(lines) + "\n```"
