from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from swin_gateway.access import Access
from swin_gateway.errors import PermissionDenied, StartError, Unauthenticated
from swin_gateway.quota import UNLIMITED
from swin_gateway.tokens import Scope, sha256


def toml(**scopes: str) -> str:
    """Tokens whose secrets are their names."""
    return "".join(
        f'[[token]]\nname = "{name}"\nsha256 = "{sha256(name).hex()}"\nscopes = ["{each}"]\n'
        for name, each in scopes.items()
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(toml(caller="classify", scraper="metrics"))
    return path


def test_without_tokens_everybody_may_everything() -> None:
    grant = Access().admit(None, "classify")
    assert (grant.name, grant.quota) == ("", UNLIMITED)


@pytest.mark.parametrize(
    ("header", "scope", "expected"),
    [
        ("Bearer caller", "classify", "caller"),
        ("bearer  caller ", "classify", "caller"),
        ("Bearer scraper", "metrics", "scraper"),
        ("Bearer caller", "metrics", PermissionDenied),
        ("Bearer scraper", "metadata", PermissionDenied),
        ("Bearer Caller", "classify", Unauthenticated),
        ("Bearer ", "classify", Unauthenticated),
        ("Bearer caller scraper", "classify", Unauthenticated),
        (f"Bearer {sha256('caller').hex()}", "classify", Unauthenticated),
        ("Basic Y2FsbGVyOg==", "classify", Unauthenticated),
        ("caller", "classify", Unauthenticated),
        ("", "classify", Unauthenticated),
        (None, "classify", Unauthenticated),
        ("Bearer gr\xfc\xdfe", "classify", Unauthenticated),
    ],
)
def test_a_token_opens_what_its_scopes_say_and_nothing_else(
    file: Path, header: str | None, scope: Scope, expected: str | type[Exception]
) -> None:
    access = Access(file=file)
    if isinstance(expected, str):
        assert access.admit(header, scope).name == expected
        return
    with pytest.raises(expected) as refusal:
        access.admit(header, scope)
    assert "Bearer caller" not in str(refusal.value)


def test_tokens_come_and_go_with_the_file_and_a_broken_one_changes_nothing(file: Path) -> None:
    access = Access(file=file)
    (watched,) = access.files
    for text in ("", toml(caller="everything"), "[[token"):
        file.write_text(text)
        with capture_logs() as logs:
            watched.look()
        assert logs[0]["log_level"] == "error"
        assert access.admit("Bearer caller", "classify").name == "caller"
    file.write_text(toml(newcomer="classify"))
    watched.look()
    assert access.admit("Bearer newcomer", "classify").name == "newcomer"
    with pytest.raises(Unauthenticated):
        access.admit("Bearer caller", "classify")


def test_a_token_keeps_its_quota_over_a_reload(file: Path) -> None:
    access = Access(file=file)
    before = access.admit("Bearer caller", "classify").quota
    file.write_text(toml(caller="classify", other="classify"))
    access.files[0].look()
    assert access.admit("Bearer caller", "classify").quota is before
    assert access.admit("Bearer other", "classify").quota is not before


def test_tokens_can_come_as_a_text() -> None:
    assert Access(text=toml(caller="classify")).admit("Bearer caller", "classify").name == "caller"


@pytest.mark.parametrize("text", ["", "[[token"])
def test_a_text_without_tokens_is_refused_and_never_open(text: str) -> None:
    with pytest.raises(StartError, match="SWINSERVE_TOKENS"):
        Access(text=text)
