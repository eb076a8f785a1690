"""Writes the generated pages of docs/reference from what they describe: the .proto files, OpenAPI, settings, commands.

Run by `make reference`. `--check` writes nothing and exits 1 naming the pages that are out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import command_page
import grpc_page
import rest_page
import settings_page

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "grpc.md": grpc_page.text,
    "rest.md": rest_page.text,
    "settings.md": settings_page.text,
    "cli.md": command_page.text,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, text in PAGES.items():
        page, written = REFERENCE / name, text()
        if page.exists() and page.read_text() == written:
            continue
        stale.append(name)
        if not check:
            page.write_text(written)
    for name in stale:
        print(f"out of date: docs/reference/{name}; run `make reference`" if check else f"wrote docs/reference/{name}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
