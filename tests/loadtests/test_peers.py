"""The parts of the peers that need none running: requests, answers, locks, and how a server starts and ends."""

from __future__ import annotations

import base64
import email
import json
import re
import sys
import zipfile
from pathlib import Path

import httpx
import psutil
import pytest
from loadtests.peers import environment, model_folder, post
from loadtests.peers.answer import label_scores, only_label_scores, triton_scores
from loadtests.peers.peer import Peer
from loadtests.peers.table import PEERS, find

ROOT = Path(__file__).parents[2]
JPEG = b"\xff\xd8\xff\xe0 not much of a picture \r\n--\r\n\xff\xd9"
LOCKS = sorted(environment.FOLDER.glob("*/requirements.txt"))
SERVER = """
import argparse, http.server, json, subprocess, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--model")
arguments = parser.parse_args()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
loading = time.monotonic() + 0.5

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200 if time.monotonic() > loading else 503)
        self.end_headers()
        self.wfile.write(json.dumps({arguments.model: float(len(body)), "other": 0.0}).encode())

http.server.HTTPServer(("127.0.0.1", arguments.port), Handler).serve_forever()
"""


def names(requirements: Path) -> set[str]:
    """Of what it asks for itself."""
    return set(re.findall(r"^([\w.-]+)", requirements.read_text(), re.MULTILINE)) if requirements.exists() else set()


MODEL = names(environment.FOLDER / "model.in")


def loosened(folder: Path) -> set[str]:
    """Packages that a peer cannot have in our versions."""
    return names(folder / "override.in")


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", lock.read_text(), re.MULTILINE))


def test_a_raw_body_is_the_file_itself() -> None:
    assert post.raw(JPEG).body == JPEG


def test_a_form_has_the_file_in_the_field_that_was_named() -> None:
    sent = post.multipart("image")(JPEG)
    message = email.message_from_bytes(b"content-type: " + sent.headers["content-type"].encode() + b"\n\n" + sent.body)
    (part,) = message.get_payload()
    assert isinstance(part, email.message.Message)
    assert part.get_param("name", header="content-disposition") == "image"
    assert part.get_filename()
    assert JPEG in sent.body


def test_json_and_msgpack_carry_the_file_under_its_key() -> None:
    assert base64.b64decode(json.loads(post.json_base64("image_data")(JPEG).body)["image_data"]) == JPEG
    sent = post.msgpack("image")(JPEG).body
    # A map of one, a text of five, bytes with a length of four bytes (msgpack's specification).
    assert sent == b"\x81" + b"\xa5image" + b"\xc6" + len(JPEG).to_bytes(4, "big") + JPEG


@pytest.mark.parametrize("text", [True, False])
def test_a_post_to_triton_says_where_its_json_ends(text: bool) -> None:
    sent = post.triton("image", text=text)(JPEG)
    end = int(sent.headers["inference-header-content-length"])
    (tensor,) = json.loads(sent.body[:end])["inputs"]
    data = sent.body[end:]
    assert tensor["parameters"]["binary_data_size"] == len(data)
    assert data == (len(JPEG).to_bytes(4, "little") + JPEG if text else JPEG)
    assert tensor["shape"] == [1, 1 if text else len(JPEG)]


def test_answers_become_scores_by_label() -> None:
    assert label_scores(b'{"cat": 0.25, "dog": 0.75}') == {"cat": 0.25, "dog": 0.75}
    assert only_label_scores(b'[{"cat": 0.25}]') == {"cat": 0.25}
    outputs = [{"name": "score", "data": [0.5, 0.25]}, {"name": "label", "data": ["cat", "dog"]}]
    assert triton_scores(json.dumps({"outputs": outputs}).encode()) == {"cat": 0.5, "dog": 0.25}
    assert find("fastapi", "tuned").label(b'{"cat": 0.25, "dog": 0.75}') == "dog"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"error": "no"}', b'[{"cat": 0.5}, {"cat": 0.5}]'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"no object of labels|Expecting value"):
        label_scores(body)
    with pytest.raises(ValueError, match=r"no object of labels|Expecting value"):
        only_label_scores(body)


def test_each_peer_of_the_table_has_a_documented_and_a_tuned_script_that_say_what_they_are() -> None:
    assert len(PEERS) == len({(peer.name, peer.variant) for peer in PEERS})
    for peer in PEERS:
        assert peer.script.read_text().startswith('"""'), peer.script
    names = {peer.name for peer in PEERS}
    assert {(peer.name, peer.variant) for peer in PEERS} == {(n, v) for n in names for v in ("documented", "tuned")}
    assert names == {lock.parent.name for lock in LOCKS}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_a_peer_has_the_model_in_our_own_versions_and_its_lock_names_no_host(lock: Path) -> None:
    text, ours, theirs = lock.read_text(), pins(ROOT / "requirements" / "serve.txt"), pins(lock)
    assert {"torch", "torchvision", "timm", "pillow", "numpy", "safetensors"} <= MODEL
    same = MODEL - loosened(lock.parent)
    assert {name: theirs[name] for name in same} == {name: ours[name] for name in same}
    assert "://" not in text
    assert "--index-url" not in text
    assert text.count("--hash=sha256:") >= len(theirs)


def test_a_model_folder_holds_weights_labels_and_the_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.mar", "w") as mar:
        mar.writestr("model.safetensors", b"weights")
        mar.writestr("labels.json", json.dumps(["crane", "cat", "crane"]))
        mar.writestr("MAR-INF/MANIFEST.json", "{}")
    folder = model_folder.unpack(tmp_path / "model.mar", tmp_path / "model")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "labels.txt").read_text().splitlines() == ["crane (0)", "cat", "crane (2)"]
    assert (folder / "archive" / "MAR-INF" / "MANIFEST.json").exists()


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """One whose server is a script of the test's own, in this environment."""
    monkeypatch.setattr(environment, "FOLDER", tmp_path)
    monkeypatch.setattr(environment, "python", lambda name: Path(sys.executable))
    (tmp_path / "toy").mkdir()
    return Peer("toy", "tuned", "/predict", post.raw, label_scores, ("httpx",))


def test_a_server_is_ready_with_its_first_answer_and_leaves_no_child_behind(peer: Peer, tmp_path: Path) -> None:
    peer.script.write_text(SERVER)
    with peer.serving(tmp_path, JPEG) as running:
        answer = httpx.post(running.url, content=JPEG)
        assert answer.status_code == 200
        assert peer.scores(answer.content) == {str(tmp_path.resolve()): float(len(JPEG)), "other": 0.0}
        server = psutil.Process(running.pid)
        family = [server, *server.children(recursive=True)]
        assert len(family) == 2
        for each in family:
            each.suspend()  # one that takes no SIGTERM
    assert not any(psutil.pid_exists(each.pid) and each.status() != psutil.STATUS_ZOMBIE for each in family)


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log(peer: Peer, tmp_path: Path) -> None:
    peer.script.write_text("raise SystemExit('no model here')")
    with pytest.raises(RuntimeError, match=r"(?s)toy, tuned.*no model here"), peer.serving(tmp_path, JPEG):
        pytest.fail("it has not started")


def test_the_versions_are_those_of_the_peers_own_environment(peer: Peer) -> None:
    assert peer.versions() == {"httpx": httpx.__version__}


def test_an_environment_is_made_anew_only_when_its_lock_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def uv(*arguments: str | Path) -> None:
        calls.append(str(arguments[0]))
        (tmp_path / ".venvs" / "toy").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environment, "FOLDER", tmp_path)
    monkeypatch.setattr(environment, "_uv", uv)
    (tmp_path / "toy").mkdir()
    lock = tmp_path / "toy" / "requirements.txt"
    lock.write_text("one==1")
    assert environment.python("toy") == environment.python("toy") == tmp_path / ".venvs" / "toy" / "bin" / "python"
    assert calls == ["venv", "pip"]
    lock.write_text("one==2")
    environment.python("toy")
    assert calls == ["venv", "pip"] * 2
