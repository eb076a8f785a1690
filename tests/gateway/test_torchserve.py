"""The supervisor around a shell script in the place of java; the real TorchServe is tests/e2e's."""

from __future__ import annotations

import importlib.util
import ipaddress
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from swin_gateway import torchserve_configuration
from swin_gateway.archive import read_archive
from swin_gateway.errors import StartError
from swin_gateway.torchserve import TAIL_LINES, TorchServe, free_ports, loopback_address

from .assembly import until
from .samples import write_archive


def java(folder: Path, script: str) -> Path:
    path = folder / "java"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class Started:
    """Makes TorchServes and ends them after the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.made: list[TorchServe] = []

    def make(self, script: str = "exit 0") -> TorchServe:
        archive = read_archive(write_archive(self._folder / "digits.mar"))
        torchserve = TorchServe([archive], java=java(self._folder, script), heap_mb=64, max_message_bytes=12345)
        self.made.append(torchserve)
        return torchserve


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    started = Started(tmp_path)
    yield started
    for each in started.made:
        await each.stop(timeout=0.2)
        assert not each._folder.exists()


async def test_its_lines_are_logged_at_their_level_and_the_last_are_kept(started: Started) -> None:
    torchserve = started.make(
        "echo 'ERROR|org.pytorch.serve.wlm.WorkerThread|it broke'\n"
        "echo 'WARN|MODEL_LOG|careful | with pipes'\n"
        "echo 'INFO|MODEL_LOG|loaded'\n"
        "echo 'DEBUG|a.B$C|detail'\n"
        "echo 'no level at all' >&2\n"
        "printf '\\377 not utf-8\\n'\n"
        "exit 3"
    )
    with capture_logs() as logs:
        await torchserve.start()
        assert await torchserve.wait() == 3
    assert [(entry["log_level"], entry["source"], entry["event"]) for entry in logs] == [
        ("error", "WorkerThread", "it broke"),
        ("warning", "MODEL_LOG", "careful | with pipes"),
        ("info", "MODEL_LOG", "loaded"),
        ("debug", "B$C", "detail"),
        ("info", "stdout", "no level at all"),
        ("info", "stdout", "\ufffd not utf-8"),
    ]
    assert torchserve.tail.splitlines()[0] == "it broke"
    assert torchserve.fatal.empty()


async def test_once_it_is_given_up_what_it_says_is_for_debugging(started: Started) -> None:
    """The one line that says why the service cannot start is not to be followed by what comes of it."""
    torchserve = started.make("echo 'ERROR|org.pytorch.serve.wlm.WorkerThread|Unknown exception'")
    torchserve.ending = True
    with capture_logs() as logs:
        await torchserve.start()
        await torchserve.wait()
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("debug", "Unknown exception")]


async def test_only_the_last_lines_are_kept(started: Started) -> None:
    torchserve = started.make("for i in $(seq 1 100); do echo line $i; done")
    with capture_logs():
        await torchserve.start()
        await torchserve.wait()
    assert torchserve.tail.splitlines() == [f"line {number}" for number in range(101 - TAIL_LINES, 101)]


async def test_a_line_too_long_does_not_end_the_reading(started: Started) -> None:
    torchserve = started.make("head -c 200000 /dev/zero | tr '\\0' x; echo; echo after")
    with capture_logs():
        await torchserve.start()
        await torchserve.wait()
    assert torchserve.tail.splitlines()[-1] == "after"
    assert "too long to show" in torchserve.tail


async def test_a_worker_that_gives_up_says_why(started: Started) -> None:
    torchserve = started.make(
        "echo 'INFO|MODEL_LOG|SWINSERVE_FATAL wrong checksum'\n"
        "echo 'INFO|MODEL_LOG|SWINSERVE_FATAL again'\n"
        "exec sleep 60"
    )
    with capture_logs():
        await torchserve.start()
        assert await torchserve.fatal.get() == "wrong checksum"
        await until(lambda: "again" in torchserve.tail)
        await torchserve.stop(timeout=5)


async def test_stop_is_sigterm_first(started: Started) -> None:
    torchserve = started.make("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
    with capture_logs():
        await torchserve.start()
        await until(lambda: torchserve.tail == "up")
        await torchserve.stop()
        assert await torchserve.wait() == 0
    assert torchserve.tail.endswith("bye")


async def test_what_ignores_sigterm_is_killed(started: Started) -> None:
    torchserve = started.make("trap '' TERM; echo up; while :; do sleep 0.01; done")
    with capture_logs():
        await torchserve.start()
        await until(lambda: torchserve.tail == "up")
        await torchserve.stop(timeout=0.05)
        assert await torchserve.wait() == -signal.SIGKILL


async def test_stop_without_a_start_removes_the_folder(started: Started) -> None:
    torchserve = started.make()
    assert torchserve._folder.exists()
    await torchserve.stop()
    assert not torchserve._folder.exists()


async def test_it_runs_in_its_private_folder_with_its_own_session_and_parent(started: Started) -> None:
    torchserve = started.make('pwd; echo $SWINSERVE_PARENT_PID $$; ps -o sid= -p $$ | tr -d " "; exit')
    with capture_logs():
        await torchserve.start()
        pid = torchserve.pid
        await torchserve.wait()
    folder, pids, *session = torchserve.tail.splitlines()
    assert Path(folder) == torchserve._folder
    assert pids == f"{pid} {pid}"
    assert session in ([], [str(pid)])  # [] where there is no ps


async def test_it_binds_loopback_and_sockets_in_its_folder_alone_and_asks_for_a_key(started: Started) -> None:
    torchserve = started.make()
    properties = dict(line.split("=", 1) for line in torchserve._properties().splitlines())
    addresses = {key: value for key, value in properties.items() if key.endswith("_address")}
    assert len(addresses) == 5
    assert all(f"unix:{torchserve._folder}/" in each or torchserve.host in each for each in addresses.values())
    ports = [value for key, value in properties.items() if key.endswith("_port")]
    assert len({*ports, str(torchserve.metrics_port)}) == 3
    assert str(torchserve.grpc_port) in ports
    assert properties["disable_token_authorization"] == "false"
    assert int(properties["token_expiration_min"]) * 60 < 2**31
    assert properties["enable_model_api"] == "false"
    assert properties["allowed_urls"] == "file://none"
    assert properties["max_request_size"] == properties["max_response_size"] == "12345"
    assert properties["load_models"] == "digits-1.0.mar"


async def test_two_instances_share_no_port_and_no_folder(started: Started) -> None:
    one, two = started.make(), started.make()
    ports = [set(each._ports.values()) for each in (one, two)]
    assert not ports[0] & ports[1]
    assert one._folder != two._folder


async def test_the_store_holds_the_archives_and_the_workers_interpreter_is_a_program(started: Started) -> None:
    torchserve = started.make('while [ "$1" != "--python" ]; do shift; done; "$2" -c "print(6 * 7)"')
    with capture_logs():
        await torchserve.start()
        assert await torchserve.wait() == 0
    assert torchserve.tail == "42"
    assert (torchserve._folder / "store" / "digits-1.0.mar").resolve().name == "digits.mar"


async def test_the_heap_is_capped_and_the_keys_are_on(started: Started) -> None:
    command = started.make()._command()
    assert "-Xmx64m" in command
    assert "--disable-token-auth" not in command


async def test_the_key_is_read_from_where_torchserve_writes_it(started: Started) -> None:
    keys = '{"management": {"key": "m"}, "inference": {"key": "abc"}, "API": {"key": "a"}}'
    torchserve = started.make(f"echo '{keys}' > key_file.json")
    assert torchserve.inference_key() == ""
    with capture_logs():
        await torchserve.start()
        assert await torchserve.wait() == 0
    assert torchserve.inference_key() == "abc"
    assert torchserve._folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("native", "scheme"), [(True, "unix:/"), (False, "http://127.")])
async def test_where_the_jar_has_no_native_code_its_rest_is_on_loopback(
    started: Started, monkeypatch: pytest.MonkeyPatch, native: bool, scheme: str
) -> None:
    monkeypatch.setattr(torchserve_configuration, "UNIX_SOCKETS", native)
    torchserve = started.make()
    assert torchserve.rest_address.startswith(scheme)
    assert f"inference_address={torchserve.rest_address}\n" in torchserve._properties()


async def test_without_torchserve_the_start_says_what_to_install(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartError, match="pip install"):
        await started.make().start()


async def test_a_process_that_cannot_be_started_is_a_start_error(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(StartError, match="cannot start TorchServe"):
        await started.make().start()


def test_services_that_start_together_have_loopback_addresses_of_their_own() -> None:
    addresses = {loopback_address(pid) for pid in (1, 2, 255, 256, 65535, 65536, 2**22 - 1)}
    assert len(addresses) == 7
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)
    assert "127.0.0.1" not in addresses


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))


async def test_its_workers_inherit_what_the_gateway_was_told(started: Started) -> None:
    torchserve = started.make('echo "handler $SWINSERVE_HANDLER"')
    torchserve._handler = '{"max_frames": 3}'
    with capture_logs():
        await torchserve.start()
        await torchserve.wait()
    assert torchserve.tail == 'handler {"max_frames": 3}'
