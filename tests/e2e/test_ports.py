"""What of the service can be reached: from another machine, and by another user of the same one."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import psutil
import pytest

from swin_gateway import torchserve_configuration
from tests.e2e.listening import Address, listening, sockets
from tests.e2e.namespaces import INSIDE, two_namespaces
from tests.e2e.running import Running, service

NOBODY = 65534
SCAN = Path(__file__).with_name("port_scan.py")
TORCHSERVE = "/org.pytorch.serve.grpc"
MANAGEMENT = f"{TORCHSERVE}.management.ManagementAPIsService"
INFERENCE = f"{TORCHSERVE}.inference.InferenceAPIsService"


class Network:
    """A service on all addresses, and somebody who is elsewhere."""

    def __init__(self, running: Running, addresses: tuple[str, ...], elsewhere: tuple[str, ...] = ()) -> None:
        """elsewhere: what to put before a command that is to run there; nothing where there is no elsewhere"""
        self.running = running
        self.addresses = addresses
        self.elsewhere = elsewhere

    def reached(self, address: str, *ports: int) -> set[int]:
        command = [*self.elsewhere, sys.executable, SCAN, address, *map(str, ports)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return set(json.loads(done.stdout))

    def listening(self) -> set[int]:
        """Every port that somebody listens on there."""
        return {port for _, port in sockets(self.running.pid).values()}


@pytest.fixture(scope="module")
def network(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    arguments = ("swin_digits", "--model-store", store, "--host", "0.0.0.0")
    folder = tmp_path_factory.mktemp("everywhere")
    with ExitStack() as stack:
        try:
            inside, outside = stack.enter_context(two_namespaces())
        except OSError as error:
            print(f"\nport scan from the machine's own addresses: no network namespaces here ({error})")
            running = stack.enter_context(service(folder, *arguments))
            yield Network(running, own_addresses())
            return
        print("\nport scan from another network namespace")
        running = stack.enter_context(service(folder, *arguments, prefix=inside.entering))
        yield Network(running, INSIDE, outside.entering)


def own_addresses() -> tuple[str, ...]:
    """The machine's, those that others can reach it by."""
    interfaces = psutil.net_if_addrs().values()
    found = [each.address for known in interfaces for each in known if each.family == socket.AF_INET]
    return tuple(each for each in found if not ipaddress.ip_address(each).is_loopback) or ("127.0.0.1",)


def below(running: Running) -> dict[int, Address]:
    """port -> address of what the service's processes listen on beside REST, gRPC and metrics."""
    found = {port: each for process in running.processes() for port, each in listening(process.pid).items()}
    return {port: each for port, each in found.items() if port not in ours(running)}


def ours(running: Running) -> set[int]:
    ports = {urlsplit(url).port for url in (running.http, running.grpc, running.metrics)}
    return {port for port in ports if port is not None}


def test_from_elsewhere_only_rest_grpc_and_metrics_are_reached(network: Network) -> None:
    public, private = ours(network.running), set(below(network.running))
    assert len(public) == 3
    assert private
    assert private | public <= network.listening()
    first, *others = network.addresses
    reached = network.reached(first)
    if not network.elsewhere:  # the machine has other programs
        reached &= private | public
    print(f"scanned all ports of {first}: open {sorted(reached)}; on loopback and not reached: {sorted(private)}")
    assert reached == public
    for address in others:
        assert not network.reached(address, *network.listening()) & private


def test_what_listens_beside_ours_is_torchserves_and_on_loopback(network: Network) -> None:
    found = below(network.running)
    assert all(address.is_loopback for address in found.values())
    assert set(found) == set(listening(network.running.jvm().pid))
    if torchserve_configuration.UNIX_SOCKETS:  # its REST has sockets in a folder
        assert len(found) == 3  # gRPC for inference, for management, and metrics


def test_the_folder_with_sockets_and_keys_is_its_users_alone(shared: Running) -> None:
    folder = shared.folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()
    assert stat.S_IMODE((folder / "key_file.json").stat().st_mode) == 0o600
    sockets = {path.name for path in folder.iterdir() if path.is_socket()}
    assert {"rest.sock", "management.sock"} < sockets
    assert [name for name in sockets if name.startswith(".ts.sock.")]  # the worker's


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_can_enter_neither_folder_nor_socket(shared: Running) -> None:
    folder = shared.folder()
    script = (
        "import os, pathlib, socket, sys\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for path in sys.argv[1:]:\n"
        "    for touch in (lambda: socket.socket(socket.AF_UNIX).connect(path), lambda: open(path).read()):\n"
        "        try:\n"
        "            touch()\n"
        "        except PermissionError:\n"
        "            continue\n"
        "        sys.exit(f'{path} can be used')\n"
    )
    worker = next(path for path in folder.iterdir() if path.name.startswith(".ts.sock."))
    paths = [folder / "rest.sock", folder / "management.sock", worker, folder / "key_file.json"]
    subprocess.run([sys.executable, "-c", script, *paths], check=True)


@pytest.mark.parametrize(
    "method",
    [
        *(f"{INFERENCE}/{name}" for name in ("Ping", "Predictions", "StreamPredictions", "StreamPredictions2")),
        *(f"{MANAGEMENT}/{name}" for name in ("ListModels", "DescribeModel", "RegisterModel", "UnregisterModel")),
        *(f"{MANAGEMENT}/{name}" for name in ("ScaleWorker", "SetDefault")),
    ],
)
@pytest.mark.parametrize("key", [None, "", "Bearer", "Bearer ", "Bearer AAAAAAAA", "Bearer null"])
def test_torchserves_grpc_does_nothing_without_the_key(shared: Running, method: str, key: str | None) -> None:
    metadata = () if key is None else (("authorization", key),)
    answered = []
    for port, address in below(shared).items():
        with grpc.insecure_channel(f"{address}:{port}") as channel:
            with pytest.raises(grpc.RpcError) as refusal:
                channel.unary_unary(method)(b"", metadata=metadata, timeout=20)
            answered.append(refusal.value.code().name)
    assert "PERMISSION_DENIED" in answered
    assert set(answered) <= {"PERMISSION_DENIED", "UNIMPLEMENTED", "UNAVAILABLE", "UNKNOWN"}


def management(shared: Running, name: str = "management") -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(shared.folder() / f"{name}.sock"))
    return httpx.Client(transport=transport, base_url="http://torchserve", timeout=20)


REQUESTS = [
    ("GET", "/models"),
    ("GET", "/models/swin_digits"),
    ("POST", "/models?url=http://127.0.0.1:1/evil.mar"),
    ("POST", "/workflows?url=http://127.0.0.1:1/evil.war"),
    ("PUT", "/models/swin_digits?min_worker=0"),
    ("PUT", "/models/swin_digits/1.0/set-default"),
    ("DELETE", "/models/swin_digits/1.0"),
    ("DELETE", "/workflows/any"),
    ("GET", "/token?type=management"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_torchserves_management_does_nothing_without_the_key(shared: Running, method: str, path: str) -> None:
    with management(shared) as client:
        for headers in ({}, {"authorization": "Bearer AAAAAAAA"}):
            assert client.request(method, path, headers=headers).status_code == 400
    assert shared.ready()


@pytest.mark.parametrize("scheme", ["http://127.0.0.1:1/evil", "file:///etc/passwd", "/etc/passwd", "../../evil"])
def test_even_with_the_key_nothing_is_loaded_that_was_not_there(shared: Running, scheme: str) -> None:
    """POST /workflows is not held by enable_model_api, but by allowed_urls."""
    key = json.loads((shared.folder() / "key_file.json").read_text())["management"]["key"]
    headers = {"authorization": f"Bearer {key}"}
    with management(shared) as client:
        assert client.get("/models", headers=headers).status_code == 200  # so it is the right key
        for path in ("/workflows", "/models"):
            refused = client.post(path, params={"url": f"{scheme}.war"}, headers=headers)
            print(f"with the key: POST {path}?url={scheme}.war: {refused.status_code} {refused.json()['message']}")
            assert 400 <= refused.status_code < 500
            if path == "/workflows" and "://" in scheme:
                assert "does not match any allowed URL" in refused.json()["message"]
    assert shared.ready()


def test_nothing_secret_is_on_the_command_line_or_in_the_log(shared: Running) -> None:
    keys = json.loads((shared.folder() / "key_file.json").read_text())
    secrets = [each["key"] for each in keys.values()]
    assert len(secrets) == 3
    said = shared.log + shared.announcement + " ".join(" ".join(each.cmdline()) for each in shared.processes())
    assert not [secret for secret in secrets if re.search(re.escape(secret), said)]
