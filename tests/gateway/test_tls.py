"""Certificates, their reload and what is refused of them; handshakes in memory."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from swin_gateway.errors import StartError
from swin_gateway.tls import Tls

from .certificates import Authority, Pair


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def client(authority: Authority, pair: Pair | None = None, *, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    if most is not None:
        context.maximum_version = most
    return context


def handshake(server: ssl.SSLContext, asking: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """The client's side of a finished one; raises the error of whichever side refuses."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = asking.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs, ours):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert theirs.version() == ours.version()
    return ours


def served(tls: Tls) -> str | None:
    """The serial number of the certificate that clients are shown now, whoever signed it."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    shown = handshake(tls.metrics_context(), asking).getpeercert(binary_form=True)
    return None if shown is None else ssl.DER_cert_to_PEM_cert(shown)


def test_a_pair_is_shown_to_clients_that_trust_its_ca(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue(tmp_path)
    tls = Tls(pair.certificate, pair.key, None)
    for most in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        assert handshake(tls.rest_context(), client(authority, most=most)).getpeercert()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.rest_context(), client(Authority()))


def test_with_a_client_ca_rest_asks_for_a_certificate_and_metrics_do_not(authority: Authority, tmp_path: Path) -> None:
    pair, clients = authority.issue(tmp_path), Authority()
    tls = Tls(pair.certificate, pair.key, clients.write(tmp_path))
    handshake(tls.rest_context(), client(authority, clients.issue(tmp_path / "client")))
    handshake(tls.metrics_context(), client(authority))
    for wrong in (None, authority.issue(tmp_path / "other"), clients.issue(tmp_path / "expired", expired=True)):
        with pytest.raises(ssl.SSLError):
            handshake(tls.rest_context(), client(authority, wrong))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("another key", "do not belong together"),
        ("expired", "clients would refuse .*: certificate has expired"),
        ("no PEM", "are no PEM certificate"),
        ("no key", "No such file"),
        ("no CA", "holds no PEM certificate of a CA"),
    ],
)
def test_what_clients_would_refuse_is_refused_at_the_start(
    authority: Authority, tmp_path: Path, case: str, words: str
) -> None:
    pair, client_ca = authority.issue(tmp_path, expired=case == "expired"), None
    if case == "another key":
        pair.key.write_bytes(authority.issue(tmp_path / "other").key.read_bytes())
    if case == "no PEM":
        pair.certificate.write_text("certificate")
    if case == "no key":
        pair.key.unlink()
    if case == "no CA":
        client_ca = tmp_path / "empty"
        client_ca.write_text("")
    with pytest.raises(StartError, match=words):
        Tls(pair.certificate, pair.key, client_ca)


def test_changed_files_are_shown_to_new_connections_and_half_of_them_are_not(
    authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue(tmp_path)
    tls = Tls(pair.certificate, pair.key, None)
    first, other = served(tls), authority.issue(tmp_path / "other")
    pair.certificate.write_bytes(other.certificate.read_bytes())
    with capture_logs() as logs:
        tls.files.look()
    assert served(tls) == first
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert "do not belong together" in logs[0]["error"]
    pair.key.write_bytes(other.key.read_bytes())
    tls.files.look()
    assert served(tls) == other.certificate.read_text()


def test_a_certificate_that_is_valid_a_moment_later_is_shown_from_then_on(authority: Authority, tmp_path: Path) -> None:
    """As cert-manager renews one, on a clock that is five seconds behind."""
    pair = authority.issue(tmp_path)
    tls = Tls(pair.certificate, pair.key, None)
    first = served(tls)
    authority.issue(tmp_path, valid_from=datetime.now(UTC) + timedelta(seconds=5))
    with capture_logs() as logs:
        tls.files.look()
        assert served(tls) == first
        time.sleep(5.5)
        tls.files.look()
    assert served(tls) == pair.certificate.read_text()
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert "not yet valid" in logs[0]["error"]


def test_grpc_is_told_once_of_each_change(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue(tmp_path)
    tls = Tls(pair.certificate, pair.key, None)
    tls.grpc_credentials()
    assert tls._take_news() is None
    authority.issue(tmp_path)
    tls.files.look()
    assert tls._take_news() is not None
    assert tls._take_news() is None


def test_no_session_outlives_the_ca_it_was_made_under(authority: Authority, tmp_path: Path) -> None:
    """Resuming one asks for no certificate, so a client whose CA is gone must not be able to."""
    pair, clients = authority.issue(tmp_path), Authority()
    tls = Tls(pair.certificate, pair.key, clients.write(tmp_path))
    asking = client(authority, clients.issue(tmp_path / "client"), most=ssl.TLSVersion.TLSv1_2)
    session = handshake(tls.rest_context(), asking).session
    assert handshake(tls.rest_context(), asking, session).session_reused
    Authority().write(tmp_path)
    tls.files.look()
    with pytest.raises(ssl.SSLError):
        handshake(tls.rest_context(), asking, session)
