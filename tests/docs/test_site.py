"""`make docs` makes a whole site, which asks nobody else for anything."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FETCHED = re.compile(r"""<(?:script|img|iframe)[^>]+src=["'](\w+:)?//|<link[^>]+rel="stylesheet"[^>]+href="(\w+:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [
        ROOT / ".venv-docs" / "bin" / "sphinx-build",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        ROOT / "docs",
        folder,
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def test_every_page_is_on_the_site_and_in_its_table_of_contents(site: Path) -> None:
    contents = (site / "index.html").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        if page.name != "README.md":
            assert (site / name).is_file()
            assert f'class="reference internal" href="{name}"' in contents, name


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not FETCHED.search(page.read_text()), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(\w+:)?//", sheet.read_text()), sheet
