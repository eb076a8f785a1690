"""The example that a user could write runs, and mypy --strict finds nothing in it."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).with_name("user_example.py")
ROOT = Path(__file__).parents[2]


def test_it_runs() -> None:
    done = subprocess.run([sys.executable, "-W", "error", EXAMPLE], capture_output=True, check=True, text=True)
    assert done.stdout == "cat ['cats', 'cat', 'cat']\n"


def test_mypy_strict_knows_every_type(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(EXAMPLE.read_text().replace("top_k=1)\n\n\nif", "top_k='1')\n\n\nif"))
    command = [sys.executable, "-m", "mypy", "--strict"]
    done = subprocess.run([*command, EXAMPLE, wrong], capture_output=True, text=True, cwd=ROOT)
    error, found = done.stdout.splitlines()
    assert "wrong.py:" in error, done.stdout
    assert 'has incompatible type "str"; expected "int | None"' in error
    assert found == "Found 1 error in 1 file (checked 2 source files)"
