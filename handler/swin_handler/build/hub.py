"""timm's configuration of pretrained weights -> the weights file in the Hugging Face hub's cache, its SHA-256 checked.

The hub's own client downloads, resumes a broken connection and keeps the cache; HF_ENDPOINT, HF_HOME, HF_TOKEN and
HF_HUB_OFFLINE mean here what they mean to it. Added are: one quick question first, since the client retries for a
minute; a new start when its resuming gives up; and the check of the bytes, which the client leaves out.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
)
from huggingface_hub.file_download import HfFileMetadata

from swin_handler.build.errors import CacheUnusable, HubUnreachable

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

_ANSWER_SECONDS = 5.0
_TRIES = 3
_PAUSE_SECONDS = 1.0
_DEFAULT_FILENAME = constants.PYTORCH_WEIGHTS_NAME
# What the hub gives as ETag of a large file and the client takes as its name in the cache. Small files have git's SHA-1
# over a header and the content.
_SHA256 = re.compile(r"[0-9a-f]{64}")
# write() names no file; what else goes wrong with the disk does.
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@dataclass(frozen=True)
class HubFile:
    path: Path
    """In the client's cache, under its name on the hub: the suffix tells the format."""
    source: str
    """Where it comes from, in words."""


@dataclass(frozen=True)
class _Wanted:
    name: str
    repository: str
    revision: str | None
    filenames: tuple[str, ...]
    """The first that the hub has is taken."""


class _NoAnswer(Exception):
    """The hub does not give the file; the reason in words."""


def fetch(cfg: Mapping[str, Any] | PretrainedCfg, name: str) -> HubFile:
    """The weights that `cfg`, timm's pretrained_cfg of the model `name`, points to.

    Safetensors are preferred. Bytes whose SHA-256 is known (all files in large file storage) are checked against it,
    also those from the cache. A hub that does not answer, or answers with an error, is replaced by its cache.

    Raises HubUnreachable when neither has the file or its bytes are wrong, CacheUnusable when the disk is at fault.
    """
    given: Mapping[str, Any] = cfg if isinstance(cfg, Mapping) else vars(cfg)
    wanted = _wanted(given, name)
    try:
        return HubFile(_find(wanted), f"hub {given['hf_hub_id']}")
    except OSError as error:
        if not _of_the_disk(error):
            raise
        raise CacheUnusable(constants.HF_HUB_CACHE, str(error)) from error


def _wanted(cfg: Mapping[str, Any], name: str) -> _Wanted:
    if not cfg.get("hf_hub_id"):
        # 19 of timm's 1,826, in part without a hash to check them with: not worth a second way of downloading.
        url = cfg.get("url")
        raise HubUnreachable(name, f"it does not have them, only {url} has" if url else "nobody hosts them")
    repository, _, revision = str(cfg["hf_hub_id"]).partition("@")
    filename = str(cfg.get("hf_hub_filename") or _DEFAULT_FILENAME)
    safe = str(Path(filename.replace("pytorch_model", "model")).with_suffix(".safetensors"))
    return _Wanted(name, repository, revision or None, tuple(dict.fromkeys((safe, filename))))


def _find(wanted: _Wanted) -> Path:
    try:
        filename, metadata = _ask(wanted)
    except _NoAnswer as reason:
        return _from_cache(wanted, str(reason))
    return _from_hub(wanted, filename, metadata)


def _ask(wanted: _Wanted) -> tuple[str, HfFileMetadata]:
    for filename in wanted.filenames:
        url = hf_hub_url(wanted.repository, filename, revision=wanted.revision)
        try:
            metadata = get_hf_file_metadata(url, timeout=_ANSWER_SECONDS)
        except RemoteEntryNotFoundError:
            continue
        except Exception as error:  # whose exceptions these are changes with the client's HTTP library
            if _of_the_disk(error):  # the token lies there
                raise
            raise _NoAnswer(_reason(error, wanted)) from error
        if metadata.etag is None or metadata.commit_hash is None:
            raise _NoAnswer(f"{constants.ENDPOINT} does not answer as a hub does; is there a proxy in between?")
        return filename, metadata
    raise _NoAnswer(f"{wanted.repository} has no {' and no '.join(wanted.filenames)}")


def _reason(error: Exception, wanted: _Wanted) -> str:
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{wanted.repository}"
        return f"{wanted.repository} is gated; ask for access at {page} and {log_in}"
    if not isinstance(error, HfHubHTTPError):
        return f"{constants.ENDPOINT} does not answer ({_first_line(error)})"
    status = error.response.status_code
    if status in (401, 403, 404):
        return f"{constants.ENDPOINT} answers {status}: no such repository as {wanted.repository}, or private; {log_in}"
    return f"{constants.ENDPOINT} answers {status}"


def _from_cache(wanted: _Wanted, reason: str) -> Path:
    for filename in wanted.filenames:
        found = try_to_load_from_cache(wanted.repository, filename, revision=wanted.revision)
        if not isinstance(found, str):  # not there, or known not to be on the hub
            continue
        if not _is_whole(Path(found)):
            # It stays: nothing can be put in its place, and the next run with a hub does so.
            raise HubUnreachable(wanted.name, f"{reason}; the copy in the cache is damaged, {found}")
        click.echo(f"{reason}: {filename} of {wanted.repository} is taken from the cache, {found}", err=True)
        return Path(found)
    raise HubUnreachable(wanted.name, f"{reason}; there is no copy in the cache, {constants.HF_HUB_CACHE}")


def _from_hub(wanted: _Wanted, filename: str, metadata: HfFileMetadata) -> Path:
    what, size = f"{filename} of {wanted.repository}", metadata.size or 0  # bytes; 0: the hub does not say
    if isinstance(try_to_load_from_cache(wanted.repository, filename, revision=metadata.commit_hash), str):
        click.echo(f"{what} is in the cache already", err=True)
    else:
        _check_space(size)
        click.echo(f"Downloading {what}" + (f", {size / 1e6:.1f} MB" if size else ""), err=True)
    path = _download(wanted, filename, again=False)
    if not _is_whole(path, metadata.etag):
        click.echo(f"{what} does not match its SHA-256: downloading it once more", err=True)
        # Where links are not supported, the client would put the new file beside the damaged one.
        _remove(path)
        path = _download(wanted, filename, again=True)
        if not _is_whole(path, metadata.etag):
            _remove(path)
            raise HubUnreachable(wanted.name, f"{what} does not match its SHA-256, even when downloaded again")
    return path


def _download(wanted: _Wanted, filename: str, *, again: bool) -> Path:
    """With a progress bar on stderr, if that is a terminal; `again` takes nothing from caches.

    The client itself resumes, by Range, connections that time out or are closed early: 5 times without a new byte, one
    second apart. Connections that are reset, and Xet's errors, it hands on: then all starts over, 3 tries together.
    """
    tries = 1
    while True:
        try:
            return Path(hf_hub_download(wanted.repository, filename, revision=wanted.revision, force_download=again))
        except Exception as error:  # its HTTP library's, Xet's, its own
            if _of_the_disk(error):
                raise
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
            # The client retries for long before this one.
            vanished = isinstance(error, LocalEntryNotFoundError)
            if refused or vanished or tries == _TRIES:
                raise HubUnreachable(wanted.name, f"the download failed, {_first_line(error)}") from error
            tries += 1
            click.echo(f"Connection lost ({_first_line(error)}): starting over, try {tries} of {_TRIES}", err=True)
            time.sleep(_PAUSE_SECONDS)


def _is_whole(path: Path, etag: str | None = None) -> bool:
    # One step along the link only: the file's name in the cache is its ETag, but that may be a link into a store shared
    # by all repositories, with names that are other hashes.
    names = (path.readlink().name if path.is_symlink() else "", etag or "")
    expected = next((name for name in names if _SHA256.fullmatch(name)), None)
    if expected is None:
        click.echo(f"{path.name} cannot be verified: the hub gives no SHA-256 of it", err=True)
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == expected


def _remove(path: Path) -> None:
    """From the cache, so that nobody else loads it."""
    if path.is_symlink():
        (path.parent / path.readlink()).unlink()
    path.unlink()


def _check_space(size: int) -> None:
    """Before a download of `size` bytes: the client only warns, and fills the disk."""
    cache = Path(constants.HF_HUB_CACHE).absolute()
    folder = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CacheUnusable(str(cache), f"{size / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free")


def _of_the_disk(error: Exception) -> bool:
    """Many errors of the network are OSErrors too."""
    return isinstance(error, OSError) and (error.filename is not None or error.errno in _WRITE_ERRORS)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
