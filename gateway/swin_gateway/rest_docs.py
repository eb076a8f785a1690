"""The page /docs: Swagger UI with assets of our own, under a policy that lets it load and run nothing else."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

ASSETS = "static-offline-docs"  # where fastapi-offline mounts them
SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def lead_to_docs(app: FastAPI) -> None:
    """From /, where there is no demo page."""
    app.add_api_route("/", lambda: RedirectResponse("docs"), include_in_schema=False)


async def docs(_: Request) -> HTMLResponse:
    # Relative, so that it also works behind a proxy that adds a prefix.
    page = get_swagger_ui_html(
        title="Swinserve",
        openapi_url="openapi.json",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon.png",
    )
    page.headers["content-security-policy"] = policy(bytes(page.body))
    return page


def policy(page: bytes) -> str:
    """Lets the page's own inline scripts run, by their hashes, and files of this service."""
    digests = (base64.b64encode(hashlib.sha256(script).digest()).decode() for script in SCRIPT.findall(page))
    scripts = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
