"""An Authorization header and the scope that a call needs -> the grant of the token in it, or a refusal.

Without tokens everybody is let in, as on a developer's machine. With them nobody is who brings none.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from swin_gateway.errors import PermissionDenied, StartError, Unauthenticated
from swin_gateway.quota import UNLIMITED, Quota, Quotas
from swin_gateway.tokens import SCOPES, Scope, Token, read_tokens, sha256
from swin_gateway.watched_files import Contents, WatchedFiles

log = structlog.get_logger("access")


@dataclass(frozen=True, slots=True)
class Grant:
    """What whoever calls may do."""

    name: str = ""
    """The token's; empty where none is asked for."""
    scopes: frozenset[Scope] = frozenset(SCOPES)
    quota: Quota = UNLIMITED


EVERYBODY = Grant()


class Access:
    def __init__(self, *, text: str | None = None, file: Path | None = None) -> None:
        """Tokens from a `text` or a `file`, as tokens.py has them; of neither, none are asked for.

        Raises:
            StartError: they cannot be read.
        """
        self.open = text is None and file is None
        self.files: Sequence[WatchedFiles] = ()
        self._quotas = Quotas() if not self.open else None
        self._grants: Sequence[tuple[bytes, Grant]] = ()
        if file is not None:
            self.files = [WatchedFiles(f"token file {file}", [file], self._load)]
        elif text is not None:
            try:
                self._take(read_tokens(text))
            except ValueError as error:
                raise StartError(f"SWINSERVE_TOKENS: {error}") from None

    def admit(self, authorization: str | None, scope: Scope) -> Grant:
        """Whose call this is.

        Raises:
            Unauthenticated: there is no token, or an unknown one.
            PermissionDenied: the token lacks the scope.
        """
        if self.open:
            return EVERYBODY
        kind, _, secret = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            raise Unauthenticated("a token is needed; send it as Authorization: Bearer TOKEN")
        grant = self._find(secret.strip())
        if grant is None:
            raise Unauthenticated("this token is not known here, or not any more; ask the operator for one")
        if scope not in grant.scopes:
            raise PermissionDenied(f"the token {grant.name} lacks the scope {scope}; ask the operator for it")
        return grant

    def _find(self, secret: str) -> Grant | None:
        digest, found = sha256(secret), None
        # All of them, whichever it is: the time this takes must not tell.
        for known, grant in self._grants:
            if hmac.compare_digest(digest, known):
                found = grant
        return found

    def _load(self, contents: Contents) -> None:
        self._take(read_tokens(contents[0].decode()))

    def _take(self, tokens: Sequence[Token]) -> None:
        assert self._quotas is not None
        self._grants = [(token.digest, Grant(token.name, token.scopes, self._quotas.of(token))) for token in tokens]
        log.info("tokens", names=[token.name for token in tokens])


OPEN = Access()
