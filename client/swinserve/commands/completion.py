"""`swinserve completion SHELL`: what makes a shell complete commands, options and files."""

import click
from click.shell_completion import get_completion_class

VARIABLE = "_SWINSERVE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete `swinserve`.

    \b
    bash   swinserve completion bash >> ~/.bashrc
    zsh    swinserve completion zsh >> ~/.zshrc
    fish   swinserve completion fish > ~/.config/fish/completions/swinserve.fish

    It works from the next shell on. In zsh, `compinit` has to come before it in ~/.zshrc.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows all three"
    click.echo(kind(context.find_root().command, {}, "swinserve", VARIABLE).source())
