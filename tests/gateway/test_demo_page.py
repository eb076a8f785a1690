"""The demo page as the gateway serves it; what it does in a browser is in tests/e2e/test_page.py."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from swin_gateway.demo_page import FOLDER, DemoPage
from swin_gateway.settings import ServeSettings

from .assembly import Gateway

FILES = sorted(path.relative_to(FOLDER / "files").as_posix() for path in (FOLDER / "files").rglob("*.*"))
TRAINED = Path(__file__).parents[2] / "model_store" / "swin_digits" / "samples"


@pytest.fixture
async def browser(served: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with served.rest(served.rest_app(DemoPage(grpc_port=4711).add_to)) as client:
        yield client


async def test_the_page_may_load_files_of_this_service_and_run_no_other_script(browser: httpx.AsyncClient) -> None:
    headers = (await browser.get("/")).headers
    policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"


async def test_the_page_knows_the_port_of_grpc(browser: httpx.AsyncClient) -> None:
    assert '<meta name="grpc-port" content="4711">' in (await browser.get("/")).text


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
async def test_a_browser_keeps_the_page_and_asks_each_time_whether_it_has_changed(
    browser: httpx.AsyncClient, path: str
) -> None:
    first = await browser.get(path)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    tag = first.headers["etag"]
    for known in (tag, f'"older", W/{tag}'):
        again = await browser.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
    other = await browser.get(path, headers={"if-none-match": '"another"'})
    assert other.content == first.content


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
async def test_head_tells_what_get_would(browser: httpx.AsyncClient, path: str) -> None:
    get, head = await browser.get(path), await browser.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in ("etag", "content-length", "content-type")} == {
        name: get.headers[name] for name in ("etag", "content-length", "content-type")
    }


@pytest.mark.parametrize("path", ["/page/", "/page/nothing.js", "/page/../index.html", "/page/%2e%2e/index.html"])
async def test_nothing_but_the_page_s_files_is_served(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "NOT_FOUND")


async def test_every_file_that_the_page_names_is_there_and_none_is_elsewhere(browser: httpx.AsyncClient) -> None:
    html = (await browser.get("/")).text
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', html))
    for script in (name for name in FILES if name.endswith(".js")):
        text = (FOLDER / "files" / script).read_text()
        named |= {f"page/{module}" for module in re.findall(r'from "\./([\w.]+)"', text)}
        named |= {f"page/samples/{sample}" for sample in re.findall(r'"([\w-]+\.jpg)": ', text)}
    assert named == {f"page/{name}" for name in FILES}
    for name in named:
        answer = await browser.get(f"/{name}")
        assert answer.status_code == 200
        assert not answer.headers["content-type"].startswith("text/plain"), name
    texts = [html, *((FOLDER / "files" / name).read_text() for name in FILES if not name.endswith(".jpg"))]
    assert not [
        found for text in texts for found in re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+|\sstyle=", text)
    ]


async def test_without_the_page_the_root_leads_to_the_docs(served: Gateway) -> None:
    assert ServeSettings(demo_page=False).demo_page is not ServeSettings().demo_page
    async with served.rest() as client:
        assert (await client.get("/")).headers["location"] == "docs"
        assert (await client.get("/page/page.js")).status_code == 404


@pytest.mark.parametrize("sample", [name for name in FILES if name.startswith("samples/") and "-" in name])
def test_the_digits_are_those_that_the_model_was_shown_never(sample: str) -> None:
    """Held-out ones of the model's own samples."""
    assert (FOLDER / "files" / sample).read_bytes() == (TRAINED / Path(sample).name).read_bytes()
