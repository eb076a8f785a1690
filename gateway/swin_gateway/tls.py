"""PEM files -> what our ports show and ask for in a handshake; new connections get what changed files hold.

A certificate that clients would refuse (not its key's, expired, not for servers) is refused like a broken file.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from swin_gateway.watched_files import Contents, WatchedFiles


class EachTime(ssl.SSLContext):
    """The context that `current` gives when a connection is accepted: asyncio asks a context for every handshake.

    After a change it is another one, with session keys of its own, so no session outlives the CA it was made under.
    """

    current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> EachTime:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context.current = current
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self.current().wrap_bio(*arguments, **options)


class Tls:
    """One certificate for all ports, and who signs the certificates that clients must show."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """client_ca: None asks clients for no certificate

        Raises:
            StartError: the files cannot be used.
        """
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._mutual: ssl.SSLContext
        self._plain: ssl.SSLContext
        self._for_grpc: grpc.ServerCertificateConfiguration
        self._news: grpc.ServerCertificateConfiguration | None = None
        self._paths = [certificate, key] + ([client_ca] if client_ca else [])
        self.files = WatchedFiles("TLS", self._paths, self._load)

    def rest_context(self) -> ssl.SSLContext:
        """Asks clients for a certificate if there is a CA for them."""
        return EachTime(lambda: self._mutual)

    def metrics_context(self) -> ssl.SSLContext:
        """Asks for none: a kubelet's probe has none to show."""
        return EachTime(lambda: self._plain)

    def grpc_credentials(self) -> grpc.ServerCredentials:
        self._news = None  # the newest goes along
        fetch: Any = self._take_news
        asked = self._client_ca is not None
        return grpc.dynamic_ssl_server_credentials(self._for_grpc, fetch, require_client_authentication=asked)

    def _take_news(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC asks before each handshake, in a thread of its own, and keeps what it is given; None: nothing new."""
        news, self._news = self._news, None
        return news

    def _load(self, contents: Contents) -> None:
        certificate, key, *authorities = contents
        plain, mutual = self._context(), self._context()
        self._check_as_client(certificate, plain)
        for authority in authorities:
            self._ask_for_certificates(authority, mutual)
        # OpenSSL reads the files itself; gRPC must not get others than it.
        if tuple(path.read_bytes() for path in self._paths) != contents:
            raise ValueError("the files changed while they were read")
        self._plain, self._mutual = plain, mutual
        pairs = [(key, certificate)]
        self._for_grpc = grpc.ssl_server_certificate_configuration(pairs, authorities[0] if authorities else None)
        self._news = self._for_grpc

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            # Without a password OpenSSL would ask the terminal for the one of an encrypted key.
            context.load_cert_chain(self._certificate, self._key, password="")
        except ssl.SSLError as error:
            what = f"{self._certificate} and {self._key}"
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ValueError(f"{what} do not belong together") from None
            raise ValueError(f"{what} are no PEM certificate and its unencrypted key") from None
        return context

    def _check_as_client(self, certificate: bytes, context: ssl.SSLContext) -> None:
        """A handshake in memory with a client that trusts this very certificate."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(cadata=certificate.decode("ascii"))
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        asking = client.wrap_bio(to_client, to_server)
        serving = context.wrap_bio(to_server, to_client, server_side=True)
        try:
            for side in (asking, serving, asking):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise ValueError(f"clients would refuse {self._certificate}: {error.verify_message}") from None

    def _ask_for_certificates(self, authority: bytes, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(cadata=authority.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise ValueError(f"{self._client_ca} holds no PEM certificate of a CA") from None
        context.verify_mode = ssl.CERT_REQUIRED
