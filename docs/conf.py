"""The site of these pages: `make docs`. Pages are written for the forge; here is what a site needs beside them."""

import re
from pathlib import Path

from sphinx.application import Sphinx

PAGES = Path(__file__).parent
LINK_UPWARDS = re.compile(r"\]\(((?:\.\./)+[^)#\s]+\.md)(?:#[^)]*)?\)")

project = html_title = "Swinserve"
extensions = ["myst_parser"]
exclude_patterns = ["generate", "README.md"]  # index.rst includes the latter
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
myst_heading_anchors = 4  # a link to a heading works as it does on the forge


def with_files(folder: Path, text: str) -> str:
    """Pages beyond docs/ are no pages of the site, so links to them lead to the files."""

    def file(found: re.Match[str]) -> str:
        inside = (folder / found[1]).resolve().is_relative_to(PAGES)
        return found[0] if inside else f"](path:{found[1]})"

    return LINK_UPWARDS.sub(file, text)


def _read(_: Sphinx, page: str, content: list[str]) -> None:
    content[0] = with_files((PAGES / page).parent, content[0])


def _included(_: Sphinx, path: Path, _page: str, content: list[str]) -> None:
    content[0] = with_files((PAGES / path).parent, content[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", _read)
    app.connect("include-read", _included)
