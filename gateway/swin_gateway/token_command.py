"""`swinserve token`: a name and what it may do -> a new secret, shown once, and the lines that let it in."""

from __future__ import annotations

import json

import click

from swin_gateway.tokens import SCOPES, new_secret, read_tokens, sha256


@click.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=("classify", "metadata"),
    show_default=True,
    help="what it may do; once for each",
)
@click.option("--rate", help='images a period, such as "100/second"; default: any number')
@click.option("--concurrency", type=int, help="images in the service at once; default: any number")
def token(name: str, scopes: tuple[str, ...], rate: str | None, concurrency: int | None) -> None:
    """Make a bearer token with the NAME.

    The token itself goes to stderr and is written nowhere: give it to whoever calls. The lines for the service's
    --token-file, with its hash, go to stdout: swinserve token NAME >> tokens.toml
    """
    secret = new_secret()
    facts: dict[str, object] = {"name": name, "sha256": sha256(secret).hex(), "scopes": list(dict.fromkeys(scopes))}
    facts |= {key: value for key, value in (("rate", rate), ("concurrency", concurrency)) if value is not None}
    # Strings, numbers and lists of strings are written in TOML as in JSON.
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())
    text = f"[[token]]\n{lines}"
    try:
        read_tokens(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(secret, err=True)
    click.echo(text)
