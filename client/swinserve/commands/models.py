"""`swinserve models`: what a service serves."""

import json
from dataclasses import asdict

import click

from . import options


@click.command()
@options.server
@options.timeout
@options.as_json
def models(server: str, timeout: float, as_json: bool) -> None:
    """List the models that a service serves."""
    with options.connect(server, timeout) as client:
        served = client.models()
    if as_json:
        for model in served:
            click.echo(json.dumps(asdict(model)))
        return
    from .table import print_models

    print_models(served)
