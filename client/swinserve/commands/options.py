"""Options that several subcommands share, each meaning the same everywhere."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, TypeVar

import click

from swinserve.client import Client

server = click.option(
    "--server",
    metavar="URL",
    envvar="SWINSERVE_SERVER",
    show_envvar=True,
    default="grpc://127.0.0.1:8001",
    show_default=True,
    help="The service: grpc://host:port, http://…, over TLS grpcs://… or https://…; several addresses with commas.",
)
timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="The deadline of each call.",
)
TOKEN_FROM = "SWINSERVE_TOKEN"  # noqa: S105 - the variable's name
"""Only the environment: a command line is seen by everybody on the machine."""
Command = TypeVar("Command", bound=Callable[..., object])
PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


class Tls(TypedDict):
    """What `tls` gives a command."""

    ca: Path | None
    cert: Path | None
    key: Path | None


def tls(command: Command) -> Command:
    """--ca, --cert and --key, for `connect`."""
    for name, text in (
        ("key", f"The private key of --cert, PEM. (A bearer token comes from {TOKEN_FROM}.)"),
        ("cert", "Who we are, where the service asks: a certificate chain, PEM."),
        ("ca", "Whom to trust instead of the usual authorities, PEM."),
    ):
        variable = f"SWINSERVE_{name.upper()}"
        option = click.option(f"--{name}", metavar="FILE", type=PEM, envvar=variable, show_envvar=True, help=text)
        command = option(command)
    return command


as_json = click.option("--json", "as_json", is_flag=True, help="JSON lines for programs.")


def in_a_folder(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """For options that name a file to write: without its folder there is no use in asking the service first."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    return path


def connect(
    server: str,
    timeout: float,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    retries: int = 3,
) -> Client:
    """A Client for these options and the token in the environment; what it cannot be made of is a usage error."""
    token = os.environ.get(TOKEN_FROM, "").strip() or None
    try:
        return Client(server, timeout=timeout, retries=retries, ca=ca, cert=cert, key=key, token=token)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
