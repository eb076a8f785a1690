from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from swin_gateway.access import Access
from swin_gateway.errors import PermissionDenied
from swin_gateway.token_command import token
from swin_gateway.tokens import read_tokens


def run(*arguments: str) -> Result:
    return CliRunner().invoke(token, arguments)


def test_the_lines_let_the_token_in_and_do_not_hold_it() -> None:
    result = run("ci", "--scope", "classify", "--scope", "metrics", "--rate", "100/second", "--concurrency", "8")
    assert result.exit_code == 0
    secret = result.stderr.strip()
    assert secret not in result.stdout
    access = Access(text=result.stdout)
    assert access.admit(f"Bearer {secret}", "metrics").name == "ci"
    with pytest.raises(PermissionDenied):
        access.admit(f"Bearer {secret}", "metadata")
    (made,) = read_tokens(result.stdout)
    assert (made.rate, made.concurrency) == ("100/second", 8)


def test_several_can_be_appended_to_one_file_and_each_is_another() -> None:
    first, second = run("one"), run("two")
    assert first.stderr != second.stderr
    assert [each.name for each in read_tokens(first.stdout + second.stdout)] == ["one", "two"]
    assert read_tokens(first.stdout)[0].scopes == {"classify", "metadata"}


@pytest.mark.parametrize(
    "arguments", [["a b"], ["ci", "--scope", "all"], ["ci", "--rate", "fast"], ["ci", "--concurrency", "0"], []]
)
def test_what_makes_no_token_shows_none(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "swinserve_" not in result.output
