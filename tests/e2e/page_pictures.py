"""The demo page in both colour schemes -> docs/images/page-*.png; `make pictures`. For eyes, not a test."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from tests.e2e.browser import DemoPage, chromium
from tests.e2e.running import SWINSERVE, service

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        folder = Path(scratch)
        subprocess.run([SWINSERVE, "build", "swin_digits", "--model-store", folder, "--no-tune"], check=True)
        with service(folder, "swin_digits", "--model-store", folder) as running:
            for scheme in SCHEMES:
                context = browser.new_context(color_scheme=scheme, viewport={"width": 1160, "height": 860})
                demo = DemoPage(context.new_page(), running.http)
                # Two of them: a worker's first call takes longer than those that follow.
                for sample, label in (("a light nine", "nine"), ("a red four", "four")):
                    demo.page.get_by_role("button", name=f"Try {sample}").click()
                    demo.answered(label)
                demo.page.mouse.move(0, 0)
                demo.page.evaluate("document.activeElement.blur()")
                demo.page.screenshot(path=IMAGES / f"page-{scheme}.png")


if __name__ == "__main__":
    main()
