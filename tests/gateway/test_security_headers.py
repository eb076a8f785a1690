"""What every HTTP answer carries for browsers, and that /docs still works under it."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from swin_gateway.security_headers import security_headers

from .assembly import PNG, Gateway

PATHS = ("/livez", "/v1/models", "/v1/nothing", "/openapi.json", "/docs", "/")


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_tells_browsers_to_make_nothing_else_of_it(served: Gateway, path: str) -> None:
    async with served.rest() as client:
        headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers
    assert "strict-transport-security" not in headers  # means nothing without TLS


async def test_errors_and_answers_of_work_carry_them_too(served: Gateway) -> None:
    async with served.rest() as client:
        answers = [await client.post("/v1/classify", content=content) for content in (PNG, b"no image")]
    for answer, status in zip(answers, (200, 415), strict=True):
        assert answer.status_code == status
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"


def test_over_tls_browsers_are_told_to_stay_there() -> None:
    assert (b"strict-transport-security", b"max-age=31536000") in security_headers([], scheme="https")


async def test_the_docs_page_may_run_its_own_script_and_load_its_own_files_and_nothing_else(served: Gateway) -> None:
    async with served.rest() as client:
        page = await client.get("/docs")
        sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assets = [await client.get(source) for source in sources]
    policy = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert not re.search(r"\son\w+=", page.text)  # handlers in attributes would be blocked
    assert "url: 'openapi.json'" in script  # of this origin: connect-src 'self'
    for asset in assets:
        assert asset.status_code == 200
        assert "etag" in asset.headers
        assert "cache-control" not in asset.headers  # kept, and asked about
