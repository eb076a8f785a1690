"""The image's recipe, held against what it promises; that it builds and serves is shown in docs/howto/container.md."""

from __future__ import annotations

import http.server
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from swin_gateway.settings import ServeSettings
from tests.deploy.dockerfile import DOCKERFILE, ROOT, environment, image, sent, sources, stages

FOLDER = DOCKERFILE.parent
TARGETS = ("cpu", "cuda")
NOT_READY = 503


def present() -> list[str]:
    """Paths of the files in the working tree, without what tools keep there."""
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not name.startswith((".venv", ".git"))]
        found += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return found


LOADTEST = ROOT / "deploy" / "k8s" / "components" / "loadtest" / "Dockerfile"


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, LOADTEST], ids=["service", "loadtest"])
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_a_user_that_is_a_number_and_not_root(target: str) -> None:
    # Kubernetes cannot tell of a name whether it is root's.
    assert [each.text for each in image(target) if each.name == "USER"] == ["10001:10001"]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_installs_a_compiler_into_what_serves(target: str) -> None:
    ran = [each.text for each in image(target) if each.name == "RUN"]
    assert [text for text in ran if "apt-get" in text or "install" in text] == []
    copied = {each.words[1] for each in image(target) if each.options("from") == ["build"]}
    assert copied == {"/opt/ours", "/models"}
    assert "g++" in " ".join(each.text for each in stages()["build"].all("RUN"))


@pytest.mark.parametrize("target", TARGETS)
def test_its_environment_is_what_the_settings_take(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(target).items():
        if name.startswith("SWINSERVE_"):
            monkeypatch.setenv(name, value)
    settings = ServeSettings.load({})
    assert (settings.host, settings.model_store) == ("0.0.0.0", Path("/models"))
    exposed = {int(port) for each in image(target) if each.name == "EXPOSE" for port in each.words}
    assert exposed == {settings.http_port, settings.grpc_port, settings.metrics_port}


@pytest.mark.parametrize("target", TARGETS)
def test_the_service_is_the_first_process_without_a_shell(target: str) -> None:
    last = {each.name: each.text for each in image(target)}
    assert json.loads(last["ENTRYPOINT"]) == ["swinserve"]
    assert json.loads(last["CMD"]) == ["serve"]


@pytest.mark.parametrize("target", TARGETS)
def test_its_labels_tell_what_it_is(target: str) -> None:
    words = [word for each in image(target) if each.name == "LABEL" for word in each.words]
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, _, value in (w.partition("=") for w in words)
    }
    assert set(labels) == {"title", "description", "licenses", "version", "revision", "base.name"}
    assert (labels["version"], labels["revision"]) == ("${VERSION}", "${REVISION}")
    arguments = dict(each.text.split("=") for each in image(target) if each.name == "ARG" and "=" in each.text)
    assert (arguments["VERSION"], arguments["REVISION"]) == ("unknown", "unknown"), "build.sh knows them"


def test_all_that_it_copies_is_there_and_reaches_the_build() -> None:
    files = present()
    assert len(sources()) >= 4
    for source in sources():
        below = [path for path in files if source == "." or path == source or path.startswith(f"{source}/")]
        assert any(map(sent, below)), source
    for path in ("requirements/serve.txt", "requirements/uv.txt", "deploy/docker/install.sh"):
        assert path in files
        assert sent(path), path


def test_all_that_the_wheel_is_made_of_reaches_the_build() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = settings["project"]
    for source in (*wheel["packages"], *wheel["force-include"], project["readme"], *project["license-files"]):
        below = [path for path in present() if path == source or path.startswith(f"{source}/")]
        assert below
        assert [path for path in below if not sent(path) and "__pycache__" not in path] == []


def test_a_build_sees_the_sources_and_nothing_else() -> None:
    tops = {path.partition("/")[0] for path in present() if sent(path)}
    assert tops == {
        *("client", "gateway", "handler", "proto", "model_store", "requirements", "deploy"),
        *("LICENSE", "README.md", "pyproject.toml"),
    }
    for path in (".git/config", ".venv/bin/python", "model_store/mine-1.0.mar", "tokens.toml", "deploy/demo.py"):
        assert not sent(path), path
    assert not sent("handler/swin_handler/__pycache__/model.cpython-311.pyc")


def test_nothing_is_fetched_by_url_and_no_secret_or_machine_is_named() -> None:
    assert not [each for stage in stages().values() for each in stage.instructions if each.name == "ADD"]
    text = "".join(path.read_text() for path in FOLDER.iterdir() if path.is_file())
    assert re.findall(r"https?://\S+", text) == []
    named = [word for stage in stages().values() for each in stage.instructions if each.name in ("ARG", "ENV")
             for word in each.words]  # fmt: skip
    assert not [word for word in named if re.search("token|password|secret|key", word, re.IGNORECASE)]


def test_every_base_is_pinned_or_a_stage() -> None:
    for stage in stages().values():
        assert stage.parent == "${BASE_IMAGE}" or stage.parent in stages()
    (default,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.search(r":\d+\.\d+\.\d+-", default)


@contextmanager
def probed(*, status: int, tls: trustme.LeafCert | None = None) -> Iterator[int]:
    """The port of something that answers /readyz with `status`."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-IS", FOLDER / "healthcheck.py"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_health_check_is_0_when_ready_and_1_with_the_reason_when_not() -> None:
    with probed(status=200) as port:
        assert health(SWINSERVE_METRICS_PORT=str(port)).returncode == 0
    gone = health(SWINSERVE_METRICS_PORT=str(port))
    assert (gone.returncode, "refused" in gone.stderr) == (1, True)
    with probed(status=NOT_READY) as port:
        unready = health(SWINSERVE_METRICS_PORT=str(port))
    assert (unready.returncode, "503" in unready.stderr) == (1, True)


def test_the_health_check_speaks_tls_where_the_service_does() -> None:
    with probed(status=200, tls=trustme.CA().issue_cert("service.example")) as port:
        assert health(SWINSERVE_METRICS_PORT=str(port), SWINSERVE_TLS_CERT="cert.pem").returncode == 0


def test_another_build_of_torch_leaves_the_rest_of_the_lock_as_it_is(tmp_path: Path) -> None:
    others, torch = tmp_path / "others.txt", tmp_path / "torch.txt"
    lock = (ROOT / "requirements" / "serve.txt").read_text()
    command = [sys.executable, FOLDER / "split_lock.py", ROOT / "requirements" / "serve.txt", others, torch]
    subprocess.run(command, check=True)
    pin = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)
    pinned, left = dict(pin.findall(lock)), dict(pin.findall(others.read_text()))
    replaced = {"torch": pinned["torch"], "torchvision": pinned["torchvision"]}
    assert dict(pin.findall(torch.read_text())) == replaced
    brought = {name for name in pinned if name.startswith(("nvidia-", "cuda-"))} | {"triton"}
    assert len(brought) > 10
    assert left == {name: each for name, each in pinned.items() if name not in brought | set(replaced)}
    hashes = re.compile("--hash=sha256:[0-9a-f]{64}")
    assert len(hashes.findall(others.read_text())) > 500
    assert not hashes.search(torch.read_text())


def test_the_scripts_are_sound_shell() -> None:
    for script, shell in (("install.sh", "sh"), ("build.sh", "bash")):
        subprocess.run([shell, "-n", FOLDER / script], check=True)
