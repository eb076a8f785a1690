"""`swinserve served`: what a running service serves."""

import json
from dataclasses import asdict

import click

from . import options


@click.command()
@options.server
@options.timeout
@options.as_json
def served(server: str, timeout: float, as_json: bool) -> None:
    """List the models that a running service serves, and what they can give."""
    with options.connect(server, timeout) as client:
        models = client.models()
    if as_json:
        for model in models:
            click.echo(json.dumps(asdict(model)))
        return
    from .table import print_models

    print_models(models)
