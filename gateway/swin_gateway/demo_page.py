"""The demo page at /, and its files at /page/: written by hand, served as they lie in the folder `page/files`.

The page is an ordinary client of the REST API: what it may do, its token may.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"  # no text is ever made HTML
)


class Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Kept by browsers and asked about each time, so that files of two releases never meet on one page."""
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


class DemoPage:
    def __init__(self, grpc_port: int = 0) -> None:
        """grpc_port: for the page's grpcurl command; set when the port is bound"""
        self.grpc_port = grpc_port
        self._html = (FOLDER / "index.html").read_text(encoding="utf-8")

    def add_to(self, app: FastAPI) -> None:
        app.add_api_route("/", self._index, methods=["GET", "HEAD"], include_in_schema=False)
        app.mount("/page", Files(directory=FOLDER / "files"))

    async def _index(self, request: Request) -> Response:
        html = self._html.replace("{grpc_port}", str(self.grpc_port))
        tag = f'"{hashlib.sha256(html.encode()).hexdigest()[:16]}"'
        headers = {"content-security-policy": POLICY, "etag": tag, "cache-control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):  # a list, or weakened by a proxy that compresses
            return Response(status_code=304, headers=headers)
        return HTMLResponse(html, headers=headers)
