"""What the command line names (files, folders, globs, a list) -> image files, by the names they are known by."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from swinserve.image_files import ImageFile, image_file

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
"""What is taken from folders: the types that a service takes unless told otherwise. A glob finds any other."""


def named(arguments: Sequence[str], files_from: str | None) -> list[str]:
    """Every file, folders and globs in the order of their names. click.UsageError for a folder without an image.

    Names alone: nothing is read yet.
    """
    if arguments.count("-") + (files_from == "-") > 1:
        raise click.UsageError("standard input can be read once")
    names = [name for argument in arguments for name in _expanded(argument)]
    if files_from is not None:
        names.extend(_listed(files_from))
    if not names:
        raise click.UsageError("name a file, a folder, a glob, `-` for standard input, or a list with --files-from")
    return names


def read(names: Iterable[str]) -> Iterator[ImageFile[str]]:
    """One file at a time; `-` is standard input. A file that cannot be read gives its error and stops nothing."""
    return (image_file(name, sys.stdin.buffer.read() if name == "-" else name) for name in names)


def _expanded(argument: str) -> Iterable[str]:
    path = Path(argument)
    if argument != "-" and path.is_dir():
        found = _in_folder(argument)
        if not found:
            raise click.UsageError(f"there is no image in the folder {argument} ({', '.join(SUFFIXES)})")
        return found
    if glob.has_magic(argument) and not path.exists():
        # A shell that found nothing, or that does not look, leaves the pattern as it is; so does this.
        matches = sorted(glob.iglob(argument, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        return [match for match in matches if not Path(match).is_dir()] or [argument]
    return [argument]


def _in_folder(folder: str) -> list[str]:
    found = []
    for where, folders, names in os.walk(folder):
        folders.sort()
        found += [os.path.join(where, name) for name in sorted(names) if name.lower().endswith(SUFFIXES)]  # noqa: PTH118
    return found


def _listed(files_from: str) -> Iterable[str]:
    try:
        content = sys.stdin.buffer.read() if files_from == "-" else Path(files_from).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{files_from}: {error.strerror or error}", param_hint="--files-from") from error
    return [os.fsdecode(line) for line in content.splitlines() if line]
