from __future__ import annotations

import hashlib

import pytest

from swin_gateway.tokens import new_secret, rate_of, read_tokens, sha256

DIGEST = "ab" * 32


def toml(name: str = "job", digest: str = DIGEST, scopes: str = '["classify"]', more: str = "") -> str:
    return f'[[token]]\nname = "{name}"\nsha256 = "{digest}"\nscopes = {scopes}\n{more}\n'


def test_tokens_are_read_with_all_they_may() -> None:
    first, second = read_tokens(toml() + toml("other", "cd" * 32, '["metadata", "metrics"]', 'rate = "5/minute"'))
    assert (first.name, first.digest, first.scopes) == ("job", bytes.fromhex(DIGEST), {"classify"})
    assert (first.rate, first.concurrency) == (None, None)
    assert (second.scopes, second.rate) == ({"metadata", "metrics"}, "5/minute")


def test_on_one_line_they_fit_into_an_environment_variable() -> None:
    (token,) = read_tokens(f'token = [{{name = "job", sha256 = "{DIGEST}", scopes = ["metrics"], concurrency = 2}}]')
    assert (token.name, token.concurrency) == ("job", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "token: Field required"),
        ("token = []", "at least 1 item"),
        ("[[token]", "no TOML"),
        (toml() + toml(), "two tokens with the name job"),
        (toml(name="a b"), "token.0.name"),
        (toml(digest="secret-itself"), "token.0.sha256"),
        (toml(scopes="[]"), "token.0.scopes"),
        (toml(scopes='["everything"]'), "token.0.scopes"),
        (toml(more='rate = "fast"'), 'a rate is written as "100/second"'),
        (toml(more='rate = "0/second"'), "1 to 100000 images"),
        (toml(more='rate = "100001/day"'), "1 to 100000 images"),
        (toml(more="concurrency = 0"), "token.0.concurrency"),
        (toml(more="scope = 1"), "token.0.scope: Extra"),
    ],
)
def test_what_is_no_token_file_is_refused_without_repeating_what_was_written(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace(".", r"\.")) as refusal:
        read_tokens(text)
    assert "secret-itself" not in str(refusal.value)


def test_a_secret_is_long_random_and_known_to_scanners() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert first.startswith("swinserve_")
    assert len(first) >= 50  # 32 bytes in base64, and the prefix
    assert sha256(first) == hashlib.sha256(first.encode()).digest()


def test_whatever_a_header_can_hold_has_a_hash() -> None:
    assert len(sha256("gr\xfc\xdfe\u2028")) == 32


def test_rates_are_of_any_period() -> None:
    assert (rate_of("1000 per 5 minutes").amount, rate_of("1000 per 5 minutes").get_expiry()) == (1000, 300)
