"""`swinserve info NAME`: what a model is, before it is built or after."""

from __future__ import annotations

import json
from pathlib import Path

import click

from swin_handler.build import options, store


@click.command()
@click.argument("name")
@options.model_store
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def info(name: str, model_store: Path | None, as_json: bool) -> None:
    """Show what NAME is: size, multiply-adds, preprocessing, labels, where its weights come from.

    NAME is swin_digits, any timm classifier with or without the tag of its weights, the name of an official file
    (swin_tiny_patch4_window7_224.pth), or what is built: NAME@VERSION or the path of a .mar. Nothing is downloaded.

    Exit codes: 0 shown, 2 there is no such model.
    """  # fmt: skip
    # Imported here, seconds long, so that --help and usage errors answer at once.
    from swin_handler.build import about, about_page

    found = about.find(name, store.resolve(model_store))
    if as_json:
        click.echo(json.dumps(about_page.as_json(found), ensure_ascii=False))
    else:
        about_page.show(found)
