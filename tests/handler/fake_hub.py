"""A Hugging Face hub in this process: what its client asks for and nothing else, with faults to order.

Large files as on the real one: `/REPOSITORY/resolve/main/FILE` answers with headers that describe the file (its SHA-256
as X-Linked-Etag) and a redirection to another host, which knows Range. Small files come at once, with git's SHA-1.
"""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

COMMIT = "c0" * 20
NO_HUB = "http://127.0.0.1:9"
_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<filename>.+)")


@dataclass(frozen=True)
class Break:
    """Ends one answer after so many bytes: closed, reset, or silent until the client hangs up."""

    after: int
    how: Literal["close", "reset", "stall"]


@dataclass
class FakeHub:
    """Listens while it is entered. All of its state may be changed between two requests."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    small: set[str] = field(default_factory=set)
    """Names of files that are not in large file storage."""
    sent_instead: dict[str, bytes] = field(default_factory=dict)
    """SHA-256 -> wrong bytes that are sent in the place of the right ones."""
    claimed_size: int | None = None
    status: int | None = None
    """Given to every request, with `error_code`, instead of an answer."""
    error_code: str = ""
    token: str = ""
    """Without it nothing is answered, if it is set."""
    breaks: list[Break] = field(default_factory=list)
    """One for each download, in their order; then downloads are whole."""
    seen: list[str] = field(default_factory=list)
    """METHOD PATH [RANGE] of every request."""
    stalled: threading.Event = field(default_factory=threading.Event)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def downloads(self) -> list[str]:
        return [line for line in self.seen if line.startswith("GET /cdn/")]

    def put(self, repository: str, filename: str, content: bytes) -> str:
        """The SHA-256 of the content."""
        self.repositories.setdefault(repository, {})[filename] = content
        return hashlib.sha256(content).hexdigest()

    def environment(self, home: Path) -> dict[str, str]:
        """For the client, which reads it when it is imported: use it in another process."""
        return environment(home, self.endpoint)

    def __enter__(self) -> FakeHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def environment(home: Path, endpoint: str) -> dict[str, str]:
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1,localhost",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._note()
        if (refusal := self._refusal()) is not None:
            self._refuse(*refusal)
        elif self._is_small():
            self._describe_small()
        else:
            self._redirect()

    def do_GET(self) -> None:
        if self.path.startswith("/cdn/"):
            self._note()
            self._download()
        else:
            self.do_HEAD()
            if self._refusal() is None and self._is_small():
                self.wfile.write(self._content())

    def _note(self) -> None:
        self.hub.seen.append(" ".join(filter(None, (self.command, self.path, self.headers.get("Range")))))

    def _refusal(self) -> tuple[int, str] | None:
        asked = _RESOLVE.fullmatch(self.path)
        if self.hub.status is not None:
            return self.hub.status, self.hub.error_code
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return 401, "GatedRepo"
        if asked is None or asked["repository"] not in self.hub.repositories:
            return 401, "RepoNotFound"  # as the real one, which does not tell what is private
        return None if asked["filename"] in self.hub.repositories[asked["repository"]] else (404, "EntryNotFound")

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self) -> bytes:
        asked = _RESOLVE.fullmatch(self.path)
        assert asked is not None
        return self.hub.repositories[asked["repository"]][asked["filename"]]

    def _is_small(self) -> bool:
        return Path(self.path).name in self.hub.small

    def _describe_small(self) -> None:
        content = self._content()
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.send_response(200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()

    def _redirect(self) -> None:
        content = self._content()
        digest = hashlib.sha256(content).hexdigest()
        other_host = self.hub.endpoint.replace("127.0.0.1", "localhost")
        self.send_response(302)
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(self.hub.claimed_size or len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Location", f"{other_host}/cdn/{digest}/{Path(self.path).name}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _download(self) -> None:
        digest, filename = self.path.split("/")[2:]
        every = (content for files in self.hub.repositories.values() for content in files.values())
        content = next(content for content in every if hashlib.sha256(content).hexdigest() == digest)
        content = self.hub.sent_instead.get(digest, content)
        first = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Content-Disposition", f'inline; filename="{filename}";')
        self.end_headers()
        fault = self.hub.breaks.pop(0) if self.hub.breaks else None
        self.wfile.write(content[first : None if fault is None else first + fault.after])
        if fault is not None:
            self._break(fault)

    def _break(self, fault: Break) -> None:
        if fault.how == "stall":
            self.hub.stalled.set()
            self.connection.recv(1)  # b"": the client has hung up
        if fault.how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass
