"""Options that several subcommands share, each meaning the same everywhere."""

from pathlib import Path

import click

from swinserve.client import Client

server = click.option(
    "--server",
    metavar="URL",
    envvar="SWINSERVE_SERVER",
    show_envvar=True,
    default="grpc://127.0.0.1:8001",
    show_default=True,
    help="The service: grpc://host:port, http://… or https://…",
)
timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="The deadline of each call.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON lines for programs.")


def in_a_folder(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """For options that name a file to write: without its folder there is no use in asking the service first."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    return path


def connect(server: str, timeout: float) -> Client:
    """A Client for the two options; a wrong URL is a usage error."""
    try:
        return Client(server, timeout=timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--server") from error
