"""A headless Chromium, the demo page in it, and what a person does there; used by the tests of the page."""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 30_000
FILES = """([name, type, content]) => {
    const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type}));
    return transfer;
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's; the test is skipped where there is none, but in CI."""
    found = shutil.which("chromium")
    if found is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class DemoPage:
    """The page, opened; `complaints` are its errors and what it asked of other hosts, of which there must be none."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("request", lambda request: self._request(request.url))
        page.goto(url)

    def _console(self, kind: str, text: str) -> None:
        # Chromium itself notes every answer that is an error.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data") and parts.netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"asked for {url}")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def drop(self, name: str, content: bytes, kind: str = "image/png") -> None:
        """Drops a file on the page."""
        transfer = self._transfer(name, content, kind)
        self.page.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
        self.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})

    def drop_file(self, path: Path) -> None:
        self.drop(path.name, path.read_bytes())

    def paste(self, name: str, content: bytes, kind: str = "image/png") -> None:
        script = """(transfer) => document.body.dispatchEvent(
            new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true}))"""
        self.page.evaluate(script, self._transfer(name, content, kind))

    def paste_text(self, text: str) -> None:
        script = """(text) => {
            const transfer = new DataTransfer();
            transfer.setData("text/plain", text);
            document.body.dispatchEvent(
                new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true}));
        }"""
        self.page.evaluate(script, text)

    def _transfer(self, name: str, content: bytes, kind: str) -> object:
        return self.page.evaluate_handle(FILES, [name, kind, base64.b64encode(content).decode()])

    def answered(self, label: str) -> None:
        """Waits for an answer whose first label is `label`."""
        expect(self.page.locator("#status")).to_have_text(re.compile(f"^{label}, .*%$"), timeout=PATIENCE_MS)

    def refused(self) -> str:
        """Waits for an error; its title."""
        self.page.locator("#failure").wait_for()
        return self.text("#failure-title")

    def token(self, secret: str) -> None:
        self.page.fill("#token", secret)
        self.page.press("#token", "Enter")

    def pixel(self, x: float, y: float) -> list[int]:
        """RGBA of the map at fractions of the image's width and height."""
        script = """([x, y]) => {
            const map = document.querySelector("#map");
            const context = new OffscreenCanvas(map.width, map.height).getContext("2d", {willReadFrequently: true});
            context.drawImage(map, 0, 0);
            return [...context.getImageData(Math.floor(x * map.width), Math.floor(y * map.height), 1, 1).data];
        }"""
        return self.page.evaluate(script, [x, y])

    def snippet(self, tab: str) -> str:
        """What is to be copied below one tab."""
        self.page.click(f"#tab-{tab}")
        return self.text("#code")

    def scores(self) -> list[float]:
        return [float(re.sub(r"[^\d.]", "", text)) for text in self.page.locator(".row .score").all_inner_texts()]
