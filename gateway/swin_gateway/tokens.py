"""TOML text -> the bearer tokens that are let in, each a name with the SHA-256 of its secret.

    [[token]]
    name = "batch-job"
    sha256 = "…"                # of the secret, which is written nowhere
    scopes = ["classify"]       # of classify, metadata, metrics
    rate = "100/second"         # images; left out: any number
    concurrency = 8             # images in the service at once; left out: any number

A fast hash is enough: a secret has 256 random bits, so there is nothing to guess that a slow one would protect, and
every call pays for it.
"""

from __future__ import annotations

import hashlib
import secrets
import tomllib
from typing import Annotated, Literal

from limits import RateLimitItem, parse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

PREFIX = "swinserve_"
"""Of every secret, so that scanners for leaked ones can know it."""
SECRET_BYTES = 32
MAX_RATE = 100_000
"""Images of one rate: the moving window remembers each of them."""

Scope = Literal["classify", "metadata", "metrics"]
SCOPES: tuple[Scope, ...] = ("classify", "metadata", "metrics")


class Token(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    rate: str | None = None
    concurrency: Annotated[int | None, Field(ge=1)] = None

    @field_validator("rate")
    @classmethod
    def _a_rate(cls, value: str | None) -> str | None:
        if value is not None and not 0 < rate_of(value).amount <= MAX_RATE:
            raise ValueError(f"a rate must be of 1 to {MAX_RATE} images")
        return value

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.sha256)


class TokenFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    # A file cut short must not lock everybody out, and an empty one must not let everybody in.
    token: Annotated[list[Token], Field(min_length=1)]


def read_tokens(text: str) -> tuple[Token, ...]:
    """Raises ValueError, whose text never holds what was written."""
    try:
        tokens = TokenFile.model_validate(tomllib.loads(text)).token
    except tomllib.TOMLDecodeError:
        raise ValueError("this is no TOML") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    names = [token.name for token in tokens]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"there are two tokens with the name {', '.join(twice)}")
    return tuple(tokens)


def rate_of(text: str) -> RateLimitItem:
    """text: such as "100/second" or "1000 per 5 minutes"; raises ValueError"""
    try:
        return parse(text)
    except ValueError:
        raise ValueError('a rate is written as "100/second" or "1000 per 5 minutes"') from None


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def sha256(secret: str) -> bytes:
    # Latin-1 takes whatever a header can hold.
    return hashlib.sha256(secret.encode("latin-1", "replace")).digest()
