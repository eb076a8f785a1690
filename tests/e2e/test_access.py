"""Who is let in by the real service: certificates and tokens, also while they change. `-s` shows what was tried."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from swin_proto.v1.classifier_pb2 import ClassifyRequest, Image
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from tests.e2e.guarded import REFUSED, Caller, Secret, Tokens, models
from tests.e2e.running import SWINSERVE, Running, service, until
from tests.gateway.certificates import Authority, Pair

PATIENCE = 60.0  # seconds; files are looked at every second
TOKENS = {
    "caller": 'scopes = ["classify"]',
    "reader": 'scopes = ["metadata"]',
    "scraper": 'scopes = ["metrics"]',
    "slow": 'scopes = ["classify"]\nrate = "3/day"',
}


class Guarded:
    """The service, and what its files are made of."""

    def __init__(self, folder: Path) -> None:
        self.servers, self.clients = Authority(), Authority()
        self.folder = folder
        self.secret = Secret(folder / "secret")
        self.tokens = Tokens(folder / "tokens.toml")
        self.tokens.write(**TOKENS)
        self.mount(self.servers, self.clients)
        self.running: Running

    def mount(self, servers: Authority, clients: Authority) -> None:
        pair = servers.issue(self.folder / "issued")
        files = {"tls.crt": pair.certificate.read_bytes(), "tls.key": pair.key.read_bytes(), "ca.crt": clients.pem}
        self.secret.put(files)

    def client_pair(self, authority: Authority, *, expired: bool = False) -> Pair:
        number = len(list(self.folder.glob("client-*")))
        return authority.issue(self.folder / f"client-{number}", expired=expired)

    def caller(self, token: str | None = "reader") -> Caller:
        """One with a right certificate."""
        return Caller(self.servers, self.client_pair(self.clients), self.tokens.header(token))

    @property
    def options(self) -> list[str | Path]:
        files = {"--tls-cert": "tls.crt", "--tls-key": "tls.key", "--tls-client-ca": "ca.crt"}
        certificates = [word for option, name in files.items() for word in (option, self.secret.folder / name)]
        return [*certificates, "--token-file", self.tokens.file, "--metrics-host", "127.0.0.2"]


@pytest.fixture(scope="module")
def guarded(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    found = Guarded(folder)
    arguments = ("swin_digits", "--model-store", store, *found.options)
    with service(folder, *arguments, environment={"HF_TOKEN": "hf_secret"}) as found.running:
        yield found


@pytest.fixture(scope="module")
def told() -> Iterator[list[str]]:
    """Lines of what was tried, printed at the end."""
    lines: list[str] = []
    yield lines
    print("", *lines, sep="\n")


def tell(told: list[str], what: str, *results: str) -> None:
    told.append(f"  {what:<52} {'  '.join(f'{each:<18}' for each in results)}")


def both(guarded: Guarded, caller: Caller) -> tuple[str, str]:
    """What becomes of ListModels over REST and over gRPC."""
    return caller.rest(f"{guarded.running.http}/v1/models"), caller.grpc(guarded.running.grpc)


def test_clients_with_a_certificate_of_the_ca_are_let_in_and_no_others(guarded: Guarded, told: list[str]) -> None:
    right, expired = guarded.caller(), guarded.client_pair(guarded.clients, expired=True)
    servers = guarded.client_pair(guarded.servers)
    cases = {
        "right certificate": (right, "200", "OK"),
        "right certificate, TLS 1.2": (replace(right, newest=ssl.TLSVersion.TLSv1_2), "200", "OK"),
        "no certificate": (replace(right, shows=None), REFUSED, REFUSED),
        "certificate of another CA": (replace(right, shows=guarded.client_pair(Authority())), REFUSED, REFUSED),
        "expired certificate": (replace(right, shows=expired), REFUSED, REFUSED),
        "certificate of the servers' CA": (replace(right, shows=servers), REFUSED, REFUSED),
        "client that trusts another CA": (replace(right, trusts=Authority()), REFUSED, REFUSED),
    }
    tell(told, "", "REST", "gRPC")
    for what, (caller, rest, over_grpc) in cases.items():
        got = both(guarded, caller)
        tell(told, what, *got)
        assert got == (rest, over_grpc), what


def test_nobody_is_answered_without_tls(guarded: Guarded, told: list[str]) -> None:
    plain = guarded.running.http.replace("https://", "http://")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{plain}/livez", trust_env=False)
    code = models(grpc.insecure_channel(guarded.running.grpc.partition("://")[2]))
    tell(told, "no TLS", REFUSED, code)
    assert code == REFUSED


def test_tokens_open_what_their_scopes_say(guarded: Guarded, told: list[str], digit: Path) -> None:
    running, image = guarded.running, digit.read_bytes()
    expected = {
        None: ("401", "401", "UNAUTHENTICATED", "401"),
        "wrong": ("401", "401", "UNAUTHENTICATED", "401"),
        "caller": ("200", "403", "PERMISSION_DENIED", "403"),
        "reader": ("403", "200", "OK", "403"),
        "scraper": ("403", "403", "PERMISSION_DENIED", "200"),
    }
    tell(told, "", "classify", "GET models", "ListModels", "metrics")
    for token, codes in expected.items():
        caller = guarded.caller(token)
        got = (
            caller.rest(f"{running.http}/v1/classify", "POST", image),
            *both(guarded, caller),
            replace(caller, shows=None).rest(running.metrics),
        )
        tell(told, f"token: {token}", *got)
        assert got == codes, token


def test_our_own_client_and_command_line_come_in_as_their_page_says(guarded: Guarded, samples: dict[Path, str]) -> None:
    folder, pair = guarded.folder / "caller", guarded.client_pair(guarded.clients)
    (folder / "photos").mkdir(parents=True)
    (seven,) = [path for path, shows in samples.items() if shows == "seven"]
    files = {"photos/seven.jpg": seven, "tls.crt": pair.certificate, "tls.key": pair.key}
    for name, source in files.items():
        shutil.copy(source, folder / name)
    guarded.servers.write(folder)
    token = {"SWINSERVE_TOKEN": guarded.tokens.secrets["caller"]}
    page = (Path(__file__).resolve().parents[2] / "docs" / "client.md").read_text()
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "grpcs://" in block]
    options = ["--ca", "ca.crt", "--cert", "tls.crt", "--key", "tls.key"]
    commands = [[sys.executable, "-c", block.replace("grpcs://127.0.0.1:8001", guarded.running.grpc)]]
    for url in (guarded.running.grpc, guarded.running.http):
        commands.append([str(SWINSERVE), "classify", "photos", "--server", url, *options])
    for command in commands:
        done = subprocess.run(command, cwd=folder, env=os.environ | token, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "seven" in done.stdout.replace("photos/seven", "")
        assert token["SWINSERVE_TOKEN"] not in done.stdout + done.stderr
    refused = subprocess.run(commands[1], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "UNAUTHENTICATED" in refused.stderr


def test_probes_need_no_token_and_on_the_metrics_port_no_certificate(guarded: Guarded) -> None:
    caller, stranger = guarded.caller(None), Caller(guarded.servers)
    metrics = guarded.running.metrics.removesuffix("/metrics")
    assert metrics.startswith("https://127.0.0.2:")
    for path in ("/livez", "/readyz"):
        assert caller.rest(f"{guarded.running.http}{path}") == "200"
        assert stranger.rest(f"{guarded.running.http}{path}") == REFUSED
        assert stranger.rest(f"{metrics}{path}") == "200"
    with caller.channel(guarded.running.grpc) as channel:
        assert HealthStub(channel).Check(HealthCheckRequest(), timeout=30).status == HealthCheckResponse.SERVING


def test_a_refused_body_is_not_asked_for(guarded: Guarded) -> None:
    """The client of `Expect: 100-continue` sends its body only when it is told to."""
    caller = guarded.caller(None)
    assert caller.shows is not None
    context = ssl.create_default_context(cadata=guarded.servers.pem.decode())
    context.load_cert_chain(caller.shows.certificate, caller.shows.key)
    host, _, port = guarded.running.http.partition("://")[2].partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\nexpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_answers_carry_headers_for_browsers_and_name_no_server(guarded: Guarded) -> None:
    metrics = guarded.running.metrics
    with guarded.caller("reader").http() as client:
        paths = ("/livez", "/v1/models", "/docs", "/nothing")
        answers = [client.get(f"{guarded.running.http}{path}") for path in paths]
    with Caller(guarded.servers).http() as client:
        answers += [client.get(metrics), client.get(metrics, headers=guarded.tokens.header("scraper"))]
    for answer in answers:
        headers = answer.headers
        assert headers["strict-transport-security"].startswith("max-age=")
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers
        assert not [each for each in headers.values() if "uvicorn" in each.lower() or "python" in each.lower()]


def test_a_token_over_its_rate_is_told_when_to_come_back(guarded: Guarded, digit: Path) -> None:
    image, url = digit.read_bytes(), f"{guarded.running.http}/v1/classify"
    with guarded.caller("slow").http() as client:
        codes = [client.post(url, content=image).status_code for _ in range(3)]
        refused = client.post(url, content=image)
    assert codes == [200, 200, 200]
    assert (refused.status_code, refused.json()["error"]["reason"]) == (429, "RATE_LIMITED")
    assert int(refused.headers["retry-after"]) > 0
    # The same limit over the other protocol.
    request, metadata = ClassifyRequest(images=[Image(content=image)]), tuple(guarded.tokens.header("slow").items())
    with guarded.caller("slow").channel(guarded.running.grpc) as channel, pytest.raises(grpc.RpcError) as limited:
        ClassifierStub(channel).Classify(request, metadata=metadata, timeout=30)
    assert limited.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_log_names_tokens_and_holds_none_and_children_see_no_secret(guarded: Guarded) -> None:
    running = guarded.running
    until(lambda: '"token": "caller"' in running.log, PATIENCE)
    refused = [line for line in map(json.loads, running.log.splitlines()) if line.get("outcome") == "unauthenticated"]
    assert refused
    for secret in guarded.tokens.secrets.values():
        assert secret not in running.log
        assert secret not in running.announcement
    for process in (running.jvm(), running.worker()):
        assert not {"HF_TOKEN", "SWINSERVE_TOKENS"} & set(process.environ())
        assert "hf_secret" not in "".join(process.environ().values())


def test_tokens_are_revoked_and_added_while_it_runs(guarded: Guarded, told: list[str]) -> None:
    reader = guarded.caller("reader")
    assert both(guarded, reader) == ("200", "OK")
    guarded.tokens.write(**{name: lines for name, lines in TOKENS.items() if name != "reader"})
    until(lambda: both(guarded, reader) == ("401", "UNAUTHENTICATED"), PATIENCE)
    tell(told, "token revoked while running", *both(guarded, reader))
    guarded.tokens.write(**TOKENS, newcomer='scopes = ["metadata"]')
    newcomer = guarded.caller("newcomer")
    until(lambda: both(guarded, newcomer) == ("200", "OK"), PATIENCE)
    tell(told, "token added while running", *both(guarded, newcomer))
    assert both(guarded, reader) == ("200", "OK")
    guarded.tokens.file.write_text("[[token]")
    until(lambda: guarded.running.log.count("changed files cannot be used") == 1, PATIENCE)
    assert both(guarded, newcomer) == ("200", "OK")


def test_certificates_and_the_client_ca_rotate_while_it_runs(guarded: Guarded, told: list[str]) -> None:
    """The last of this module: what is mounted afterwards is another's."""
    before = guarded.caller("newcomer")
    assert both(guarded, before) == ("200", "OK")
    servers, clients = Authority(), Authority()

    guarded.mount(servers, guarded.clients)
    renewed = replace(before, trusts=servers)
    until(lambda: both(guarded, renewed) == ("200", "OK"), PATIENCE)
    tell(told, "server certificate rotated: who trusts the new one", *both(guarded, renewed))
    assert both(guarded, before) == (REFUSED, REFUSED)
    tell(told, "server certificate rotated: who trusts the old one", *both(guarded, before))

    guarded.mount(servers, clients)
    new = replace(renewed, shows=guarded.client_pair(clients))
    until(lambda: both(guarded, new) == ("200", "OK"), PATIENCE)
    tell(told, "client CA rotated: certificate of the new one", *both(guarded, new))
    assert both(guarded, renewed) == (REFUSED, REFUSED)
    tell(told, "client CA rotated: certificate of the old one", *both(guarded, renewed))

    # A key that is not the certificate's: both keep what they had.
    errors = guarded.running.log.count("do not belong together")
    other = servers.issue(guarded.folder / "half")
    ours = servers.issue(guarded.folder / "whole")
    guarded.secret.put(
        {"tls.crt": ours.certificate.read_bytes(), "tls.key": other.key.read_bytes(), "ca.crt": clients.pem}
    )
    until(lambda: guarded.running.log.count("do not belong together") > errors, PATIENCE)
    assert both(guarded, new) == ("200", "OK")
    tell(told, "key of another certificate: the old pair stays", *both(guarded, new))
