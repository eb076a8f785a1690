"""A CA of one's own, and PEM files of what it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        return self._ca.cert_pem.bytes()

    def write(self, folder: Path) -> Path:
        """The CA's own certificate."""
        path = folder / "ca.crt"
        path.write_bytes(self.pem)
        return path

    def issue(self, folder: Path, *, expired: bool = False, valid_from: datetime | None = None) -> Pair:
        """A certificate for localhost and its key, as Kubernetes names the files of a secret; for clients as well."""
        names = ("localhost", "127.0.0.1", "127.0.0.2")
        issued = self._ca.issue_cert(*names, not_before=valid_from, not_after=PAST if expired else None)
        folder.mkdir(parents=True, exist_ok=True)
        pair = Pair(folder / "tls.crt", folder / "tls.key")
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        pair.key.write_bytes(issued.private_key_pem.bytes())
        return pair
