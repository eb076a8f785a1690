"""`swinserve served`: what a running service serves."""

import json
from dataclasses import asdict
from typing import Unpack

import click

from . import options


@click.command()
@options.server
@options.tls
@options.timeout
@options.as_json
@click.option("-v", "--verbose", is_flag=True, help="Also why each backend serves, and how fast all of them were.")
def served(server: str, timeout: float, as_json: bool, verbose: bool, **tls: Unpack[options.Tls]) -> None:
    """List the models that a running service serves, and what they can give."""
    with options.connect(server, timeout, **tls) as client:
        models = client.models()
    if as_json:
        for model in models:
            click.echo(json.dumps(asdict(model)))
        return
    from .table import print_backends, print_models

    print_models(models)
    if verbose:
        for model in models:
            print_backends(model)
