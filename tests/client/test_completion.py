"""Completion as a real bash asks for it, and what it costs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from swinserve.cli import main

ASK = """
eval "$(swinserve completion bash)"
COMP_WORDS=(swinserve "$@"); COMP_CWORD=$#
_swinserve_completion swinserve
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str) -> list[str]:
    """What bash would offer for the last word."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "--norc", "-c", ASK, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PATH": path})
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["d"], ["doctor"]),
        (["bench", "--conc"], ["--concurrency"]),
        (["serve", "--http"], ["--http-port"]),
        (["build", "--dtype", "b"], ["bfloat16"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
    ids=" ".join,
)
def test_bash_completes(words: list[str], offered: list[str]) -> None:
    assert completed(*words) == offered


@pytest.mark.parametrize("words", [["classify", "ph"], ["classify", "--files-from", "ph"]], ids=" ".join)
def test_files_are_left_to_bash(words: list[str]) -> None:
    """click answers with a type that stands for files, for which the script turns on bash's own completion."""
    asked = {"COMP_WORDS": f"swinserve {' '.join(words)}", "COMP_CWORD": str(len(words))}
    environment = os.environ | asked | {"_SWINSERVE_COMPLETE": "bash_complete"}
    probe = "from swinserve.cli import main; main(prog_name='swinserve')"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "file,ph\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_us(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell], prog_name="swinserve")
    assert result.exit_code == 0
    assert f"_SWINSERVE_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize("command", ["classify", "serve", "build", "tune", "models", "info", "token"])
def test_completing_the_options_of_a_command_imports_neither_torch_nor_a_server(command: str) -> None:
    probe = (
        "import atexit, json, sys\n"
        "heavy = {'torch', 'timm', 'fastapi', 'uvicorn', 'httpx', 'numpy', 'swin_gateway.service'}\n"
        "atexit.register(lambda: print(json.dumps(sorted(heavy & set(sys.modules)))))\n"
        "from swinserve.cli import main; main(prog_name='swinserve')\n"
    )
    words = {"COMP_WORDS": f"swinserve {command} --", "COMP_CWORD": "2", "_SWINSERVE_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=os.environ | words
    )
    *offered, imported = done.stdout.splitlines()
    assert "plain,--help" in offered
    assert json.loads(imported) == []
