"""A real HTTP server that speaks the REST contract, with a fake classifier behind it; standard library only."""

import base64
import json
import re
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .contract import MODEL, REASONS, TIMING, Asked, Certificate, Found, Refusal, Tensor, found, outcomes

ROUTE = re.compile(r"/v1/models(?:/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+))?)?(?P<verb>:classify)?")
# Answers that no Swinserve gives: the model "broken", by version.
BROKEN = {"text": b"<html>hello</html>", "keys": b'{"results": []}', "type": b"[1, 2]", "null": b'{"results": null}'}


class Handler(BaseHTTPRequestHandler):
    seen: list[Asked]
    released: threading.Event

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        asked = self._note(
            url.path,
            images=self._images(body),
            top_k=int(query["top_k"][0]) if "top_k" in query else None,
            min_score=float(query.get("min_score", ["0"])[0]),
            **{name: _base64(query.get(name)) for name in ("embedding", "class_activation_map")},
        )
        if asked.model == "hang" or b"hang" in asked.images:
            self.released.wait(30)
        if asked.model == "status":  # no error body, as a proxy answers
            return self._send(int(asked.version), b"<html>from elsewhere</html>", {"retry-after": "Wed, 21 Oct 2015"})
        if asked.model == "broken":
            return self._send(200, BROKEN[asked.version])
        try:
            reasons = outcomes(asked)
        except Refusal as refusal:
            return self._refuse(refusal, asked.request_id)
        answer = {
            "model": asked.model or "swin_digits",
            "version": asked.version or "1",
            "backend": "eager",
            "dtype": "float32",
            "results": [
                _error(reason, asked.request_id) if reason else _found(found(asked), asked) for reason in reasons
            ][asked.model == "short" :],
            "timing": TIMING,
        }
        return self._send(200, json.dumps(answer).encode(), {"x-request-id": asked.request_id})

    def do_GET(self) -> None:
        asked = self._note(urlsplit(self.path).path)
        if asked.model and asked.model != MODEL["name"]:
            return self._refuse(Refusal("MODEL_NOT_FOUND"), asked.request_id)
        answer = MODEL | {"version": asked.version or "1"} if asked.model else {"models": [MODEL]}
        return self._send(200, json.dumps(answer).encode(), {"x-request-id": asked.request_id})

    def _note(self, path: str, **what: Any) -> Asked:
        match = ROUTE.fullmatch(path)
        assert match or path == "/v1/classify", path
        names = {key: unquote(match[key] or "") for key in ("model", "version")} if match else {}
        timeout, request_id = float(self.headers["x-request-timeout"]), self.headers["x-request-id"]
        authorization = self.headers.get("authorization", "")
        asked = Asked(timeout=timeout, request_id=request_id, authorization=authorization, **names, **what)
        self.seen.append(asked)
        return asked

    def _images(self, body: bytes) -> list[bytes]:
        if self.headers["content-type"] == "application/octet-stream":
            return [body]
        parts = message_from_bytes(b"content-type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + body)
        for part in parts.get_payload():
            assert part.get_param("name", header="content-disposition") == "images"
            assert part.get_filename()
        return [part.get_payload(decode=True) for part in parts.get_payload()]

    def _refuse(self, refusal: Refusal, request_id: str) -> None:
        code, http, wait = REASONS[refusal.reason]
        error = {"code": code, "reason": refusal.reason, "message": str(refusal), "request_id": request_id}
        headers = {"x-request-id": request_id} | ({} if wait is None else {"retry-after": f"{wait:g}"})
        self._send(http, json.dumps({"error": error}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _base64(asked: list[str] | None) -> bool:
    assert asked in (None, ["base64"])  # written-out numbers would be long and inexact
    return asked is not None


def _found(found: Found, asked: Asked) -> dict[str, Any]:
    """Keys that were not asked for are absent; an embedding that comes all the same is a list: no form was chosen."""
    keys = ("label", "index", "score", "class_activation_map")
    best = [_present(dict(zip(keys, (*one, _tensor(values)), strict=True))) for *one, values in found.predictions]
    embedding = _tensor(found.embedding) if asked.embedding else _listed(found.embedding)
    return _present({"predictions": best, "embedding": embedding, "map_region": found.region})


def _present(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}


def _tensor(tensor: Tensor | None) -> dict[str, Any] | None:
    return tensor and {"shape": tensor.shape, "dtype": "float32", "data": base64.b64encode(tensor.data).decode()}


def _listed(tensor: Tensor | None) -> list[float] | None:
    return tensor and list(struct.unpack(f"<{tensor.shape[0]}f", tensor.data))


def _error(reason: str, request_id: str) -> dict[str, Any]:
    error = {"code": REASONS[reason][0], "reason": reason, "message": f"refused: {reason}", "request_id": request_id}
    return {"error": error}


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away is what some tests are about


def _context(tls: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.chain, tls.key)
    return context


@contextmanager
def serve(seen: list[Asked], tls: Certificate | None = None) -> Iterator[str]:
    released = threading.Event()
    with Server(("127.0.0.1", 0), type("SeenHandler", (Handler,), {"seen": seen, "released": released})) as server:
        if tls is not None:
            server.socket = _context(tls).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http{'s' * bool(tls)}://127.0.0.1:{server.server_port}"
        finally:
            released.set()
            server.shutdown()
            thread.join()
