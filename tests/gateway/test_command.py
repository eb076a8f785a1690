"""`swinserve serve` up to where TorchServe would load a model; a shell script stands in for java."""

from __future__ import annotations

import gc
import os
import socket
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from swin_gateway import command
from swin_gateway.settings import PREFIX, ServeSettings

from .certificates import Authority
from .samples import write_archive

# One test below is about sockets left open; the others are not.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _as_on_a_fresh_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(command, "configure_logging", lambda *_: None)  # it would stay for all later tests
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_store").mkdir()


def java(script: str) -> str:
    path = Path("java").absolute()
    path.write_text(f'#!/bin/sh\nif [ "$1" = -version ]; then echo \'version "21"\'; exit; fi\n{script}\n')
    path.chmod(0o755)
    return str(path)


def serve(*arguments: str) -> Result:
    return CliRunner().invoke(command.serve, arguments)


def assert_refused(result: Result, said: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("swinserve: ")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_help_lists_every_setting_with_its_environment_variable_and_default() -> None:
    text = " ".join(serve("--help").output.split())
    for name in set(ServeSettings.model_fields) - {"models"}:
        assert (f"--{name.replace('_', '-')} " in text) is (name != "tokens")  # a secret is no flag
        assert f"{PREFIX}{name.upper()}".replace("_", "") in text.replace("_", "").replace(" ", "")
    assert "default: 8000" in text
    assert "Exit codes" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--http-port", "70000"], "http_port: "),
        (["--formats", "svg"], "unknown image type SVG"),
        (["--tls-cert", "c.pem"], "tls_cert and tls_key go together"),
        (["--tls-key", "k.pem"], "tls_cert and tls_key go together"),
        (["--tls-client-ca", "ca.pem"], "tls_client_ca needs tls_cert"),
        (["--config", "none.toml"], "none.toml"),
        ([], "build one first"),
        (["digits"], "swinserve build digits"),
        (["none.mar"], "no model archive none.mar"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(arguments: list[str], said: str) -> None:
    result = serve(*arguments)
    assert_refused(result, said)
    assert result.stderr.count("\n") == 1


def test_an_unknown_key_of_the_file_is_refused_by_name() -> None:
    Path("s.toml").write_text("http_prot = 1\n")
    assert_refused(serve("--config", "s.toml"), "http_prot")


def test_a_misspelt_environment_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWINSERVE_MODLES", "x")
    assert_refused(serve(), "SWINSERVE_MODLES")


def test_a_java_that_is_none_is_refused() -> None:
    write_archive(Path("model_store/digits.mar"))
    assert_refused(serve("--java", "/nowhere/java"), "no Java 17")


def test_tokens_are_no_flag_for_everybody_can_read_those() -> None:
    assert "No such option" in serve("--tokens", "secret").stderr


def test_two_places_for_tokens_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWINSERVE_TOKENS", "token = []")
    assert_refused(serve("--token-file", "tokens.toml"), "set one")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"--tls-cert": "tls.crt", "--tls-key": "other/tls.key"}, "do not belong together"),
        ({"--tls-cert": "none.crt", "--tls-key": "tls.key"}, "none.crt"),
        ({"--tls-cert": "tls.crt", "--tls-key": "tls.key", "--tls-client-ca": "tls.key"}, "no PEM certificate of a CA"),
        ({"--token-file": "none.toml"}, "none.toml"),
        ({"--token-file": "empty.toml"}, "token: Field required"),
    ],
)
def test_what_cannot_guard_is_refused_in_one_line(options: dict[str, str], said: str) -> None:
    authority = Authority()
    authority.issue(Path())
    authority.issue(Path("other"))
    Path("empty.toml").touch()
    write_archive(Path("model_store/digits.mar"))
    result = serve(*(word for option in options.items() for word in option))
    assert_refused(result, said)
    assert result.stderr.count("\n") == 1


@pytest.fixture
def busy_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        yield str(busy.getsockname()[1])


DIGEST = "ab" * 32
FREE = {"--http-port": "0", "--grpc-port": "0", "--metrics-port": "0"}


def started(script: str, **changes: str) -> Result:
    write_archive(Path("model_store/digits.mar"))
    options = FREE | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    with capture_logs():
        result = serve("--java", java(script), *(word for option in options.items() for word in option))
    gc.collect()  # so that what was left open is this test's matter and not a later one's
    return result


@pytest.mark.parametrize("name", ["http_port", "grpc_port", "metrics_port"])
def test_a_busy_port_is_refused_in_one_line_and_nothing_is_left(
    busy_port: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[str] = []
    make = tempfile.mkdtemp

    def mkdtemp(**options: Any) -> str:
        folders.append(make(**options))
        return folders[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    result = started("exec sleep 60", **{name: busy_port})
    assert_refused(result, f"cannot listen on 127.0.0.1:{busy_port}")
    assert result.stderr.count("\n") == 1
    assert len(folders) == 1
    assert not Path(folders[0]).exists()


@pytest.mark.parametrize(
    ("options", "open_to_others"),
    [
        ({}, set()),
        ({"--host": "0.0.0.0"}, {"rest_and_grpc", "metrics"}),
        ({"--host": "0.0.0.0", "--metrics-host": "127.0.0.1"}, {"rest_and_grpc"}),
        ({"--host": "0.0.0.0", "--tls-cert": "tls.crt", "--tls-key": "tls.key"}, {"rest_and_grpc", "metrics"}),
        (
            {"--host": "0.0.0.0", "--tls-cert": "tls.crt", "--tls-key": "tls.key", "--tls-client-ca": "ca.crt"},
            {"metrics"},
        ),
        ({"--host": "0.0.0.0", "--token-file": "tokens.toml"}, set()),
    ],
)
def test_a_service_that_lets_others_in_says_so_at_the_start(options: dict[str, str], open_to_others: set[str]) -> None:
    authority = Authority()
    authority.issue(Path())
    authority.write(Path())
    Path("tokens.toml").write_text(f'[[token]]\nname = "a"\nsha256 = "{DIGEST}"\nscopes = ["classify"]')
    write_archive(Path("model_store/digits.mar"))
    with capture_logs() as logs:
        serve("--java", java("exit 1"), *(word for option in (FREE | options).items() for word in option))
    gc.collect()
    warned = [set(entry) & {"rest_and_grpc", "metrics"} for entry in logs if "is let in" in entry["event"]]
    assert warned == ([open_to_others] if open_to_others else [])


def test_a_model_that_cannot_be_loaded_is_refused_with_the_workers_reason() -> None:
    result = started("echo 'INFO|MODEL_LOG|SWINSERVE_FATAL wrong checksum'; exec sleep 60")
    assert_refused(result, "a model cannot be loaded: wrong checksum")


def test_a_torchserve_that_ends_at_once_is_refused_with_its_last_words() -> None:
    assert_refused(started("echo no memory; exit 1"), "TorchServe ended while starting:\nno memory")


def test_a_start_that_takes_too_long_is_given_up() -> None:
    result = started("echo thinking; exec sleep 60", start_timeout="3")
    assert_refused(result, "not ready after 3 s; TorchServe said last:\nthinking")


def test_several_models_and_versions_are_served_at_once_in_the_order_of_the_command_line() -> None:
    for name, version in (("digits", "1.0"), ("birds", "1"), ("birds", "2")):
        write_archive(Path(f"model_store/{name}-{version}.mar"), name=name, version=version)
    show = 'while [ "$1" != -f ]; do shift; done; grep load_models "$2"; exit 1'
    with capture_logs():
        result = serve(
            "birds@1", "digits", "birds", "--java", java(show), *(word for each in FREE.items() for word in each)
        )
    gc.collect()
    assert_refused(result, "load_models=birds-1.mar,digits-1.0.mar,birds-2.mar")


@pytest.mark.parametrize("step", ["busy port", "loading"])
def test_a_start_that_fails_leaves_no_socket_open(busy_port: str, step: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started("exit 1", **({"grpc_port": busy_port} if step == "busy port" else {}))
    assert [str(warning.message) for warning in caught] == []
