"""Commands of other parts: named in the help without importing them, imported when they are called."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from click.testing import CliRunner

from swinserve import cli

COMMAND = """
import click

@click.command()
@click.option("--name", default="nobody")
def greet(name):
    "Greets somebody."
    click.echo(f"hello {name}")

@click.command()
def build():
    import torch_that_is_absent
"""


@pytest.fixture
def announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to put packages in, with the commands that they announce."""
    entries = [
        EntryPoint("greet", "greeting_part.command:greet", "swinserve.commands"),
        EntryPoint("build", "greeting_part.command:build", "swinserve.commands"),
        EntryPoint("serve", "torchless_part.command:serve", "swinserve.commands"),
        EntryPoint("broken", "greeting_part.nowhere:x", "swinserve.commands"),
        EntryPoint("wrong", "json:dumps", "swinserve.commands"),
    ]
    for package, source in {"greeting_part": COMMAND, "torchless_part": "import torch_that_is_absent.nn"}.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "command.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "entry_points", lambda **query: EntryPoints(entries).select(**query))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("greeting_part", "torchless_part")]:
        del sys.modules[name]


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.main, args, prog_name="swinserve")
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("announced")
def test_the_help_names_them_without_importing_them() -> None:
    code, out, _ = run("--help")
    rows = {
        line.split()[0]: line.split(maxsplit=1)[1]
        for line in out.splitlines()
        if line.startswith("  ") and line.split()[1:]
    }
    assert code == 0
    assert rows["serve"] == cli.EXTRAS["serve"].help
    assert rows["greet"] == "(from greeting_part.command)"
    assert "classify" in rows
    assert not {"greeting_part", "torchless_part"}.intersection(sys.modules)


@pytest.mark.usefixtures("announced")
def test_a_called_command_runs_with_its_own_options_and_help() -> None:
    assert run("greet", "--name", "Ada") == (0, "hello Ada\n", "")
    _, out, _ = run("greet", "--help")
    assert "Usage: swinserve greet" in out
    assert "Greets somebody." in out


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize("args", [["serve", "--help"], ["build"]], ids=["at import", "when it runs"])
def test_a_missing_extra_is_one_line_and_exit_code_2(args: list[str]) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert f"swinserve {args[0]}: this command needs `pip install 'swinserve[serve]'`" in line
    assert "torch_that_is_absent" in line


@pytest.mark.usefixtures("announced")
def test_a_bug_in_a_command_is_not_called_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"greeting_part\.nowhere"):
        CliRunner().invoke(cli.main, ["broken"], catch_exceptions=False)
    with pytest.raises(TypeError, match="not a click command"):
        CliRunner().invoke(cli.main, ["wrong"], catch_exceptions=False)


def test_every_command_of_ours_has_its_line_and_the_help_imports_no_torch() -> None:
    probe = "import sys; from swinserve.cli import main; main(['--help'], standalone_mode=False); "
    probe += "print(*sorted({'torch', 'grpc', 'httpx', 'rich', 'swin_gateway'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == ""
    ours = {entry.name for entry in cli.entry_points(group="swinserve.commands")}
    assert ours <= set(cli.EXTRAS)
