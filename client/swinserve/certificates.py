"""Paths of PEM files -> what TLS needs of them, for the protocol that asks."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """`ca`: whom to trust instead of the usual authorities. `cert` and `key`: who we are, for mutual TLS."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """ValueError for files that cannot be read, are no PEM or do not belong together."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate")
        files = [path for path in (self.ca, self.cert, self.key) if path is not None]
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                # Without this an encrypted key would ask for its password on the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
        except OSError as error:  # ssl's own errors are among them
            names = ", ".join(map(str, files))
            raise ValueError(f"no TLS with {names}: {error.strerror or error}") from error
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The bytes of ca, key and cert. ValueError as `context`."""
        self.context()
        ca, key, cert = (None if path is None else path.read_bytes() for path in (self.ca, self.key, self.cert))
        return ca, key, cert
