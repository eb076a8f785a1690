"""The Hugging Face hub's cache: its bytes are checked, it serves when the hub does not, and its disk may be full."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
from pathlib import Path

import pytest
from huggingface_hub.file_download import HfFileMetadata

from swin_handler.build import hub as fetching
from tests.handler.fake_hub import COMMIT, NO_HUB, FakeHub
from tests.handler.hub_client import (
    CONTENT,
    REPOSITORY,
    SAFE,
    SMALL_CONTENT,
    STEP,
    fetch,
    fetched,
    partial_files,
    refused,
)

SMALL_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({STEP}, {STEP}))"


def test_bytes_that_do_not_match_their_checksum_are_fetched_once_more_and_then_refused(
    hub: FakeHub, home: Path
) -> None:
    digest = hub.put(REPOSITORY, SAFE, CONTENT)
    hub.sent_instead[digest] = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    refused(fetch(home, hub.endpoint), "does not match its SHA-256, even when downloaded again")
    assert len(hub.downloads) == 2
    assert not list(home.rglob(SAFE)), "nobody else may find the wrong bytes in the cache"
    assert not list(home.rglob(digest))
    refused(fetch(home, NO_HUB), "does not answer")

    hub.sent_instead.clear()
    fetched(fetch(home, hub.endpoint))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_file_damaged_in_the_cache_is_replaced(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    damage(fetched(fetch(home, hub.endpoint)))
    done = fetch(home, hub.endpoint)
    fetched(done)
    assert "does not match its SHA-256: downloading it once more" in done.stderr
    assert len(hub.downloads) == 2
    fetched(fetch(home, NO_HUB))


def test_a_file_damaged_in_the_cache_is_refused_without_a_hub(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    path = fetched(fetch(home, hub.endpoint))
    damage(path)
    refused(fetch(home, NO_HUB), "does not answer", f"the copy in the cache is damaged, {path}")


def test_a_cache_without_links_is_checked_all_the_same(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    path = fetched(fetch(home, hub.endpoint, HF_HUB_DISABLE_SYMLINKS="1"))
    assert not path.is_symlink()
    damage(path)
    fetched(fetch(home, hub.endpoint, HF_HUB_DISABLE_SYMLINKS="1"))
    assert len(hub.downloads) == 2


def test_a_file_in_the_store_that_repositories_share_is_checked_by_its_name_in_its_repository(
    hub: FakeHub, home: Path
) -> None:
    hub.put(REPOSITORY, SAFE, SMALL_CONTENT)
    path = fetched(fetch(home, hub.endpoint), SMALL_CONTENT)
    blob = path.parent / path.readlink()
    shared = home / "hub" / "blobs" / "ab" / ("ab" * 32)  # named by another hash than SHA-256
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    fetched(fetch(home, NO_HUB), SMALL_CONTENT)
    damage(shared)
    refused(fetch(home, NO_HUB), "the copy in the cache is damaged")


def test_a_damaged_file_is_not_taken_from_that_store_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The store belongs to Xet, which this hub does not speak; so this is a client of our own.
    file, digest = tmp_path / SAFE, hashlib.sha256(CONTENT).hexdigest()

    def download(*_asked: object, force_download: bool, **_given: object) -> str:
        file.write_bytes(CONTENT if force_download else SMALL_CONTENT)
        return str(file)

    def describe(url: str, **_given: object) -> HfFileMetadata:
        return HfFileMetadata(COMMIT, digest, url, len(CONTENT), None)

    monkeypatch.setattr(fetching, "hf_hub_download", download)
    monkeypatch.setattr(fetching, "get_hf_file_metadata", describe)
    assert fetching.fetch({"hf_hub_id": REPOSITORY}, "some_vit").path.read_bytes() == CONTENT


def test_a_small_file_without_a_sha256_is_taken_and_said_to_be_unverified(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, SMALL_CONTENT)
    hub.small.add(SAFE)
    done = fetch(home, hub.endpoint)
    fetched(done, SMALL_CONTENT)
    assert f"{SAFE} cannot be verified: the hub gives no SHA-256 of it" in done.stderr


def test_without_a_hub_the_cache_serves_and_says_so(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, SMALL_CONTENT)
    path = fetched(fetch(home, hub.endpoint), SMALL_CONTENT)
    silent = fetch(home, NO_HUB)
    assert fetched(silent, SMALL_CONTENT) == path
    assert f"{NO_HUB} does not answer" in silent.stderr
    assert f"is taken from the cache, {path}" in silent.stderr

    requests = len(hub.seen)
    offline = fetch(home, hub.endpoint, HF_HUB_OFFLINE="1")
    assert fetched(offline, SMALL_CONTENT) == path
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    assert len(hub.seen) == requests


@pytest.mark.parametrize("status", [503, 401, 404])
def test_when_the_hub_answers_with_an_error_the_cache_serves(hub: FakeHub, home: Path, status: int) -> None:
    hub.put(REPOSITORY, SAFE, SMALL_CONTENT)
    fetched(fetch(home, hub.endpoint), SMALL_CONTENT)
    hub.status = status
    done = fetch(home, hub.endpoint)
    fetched(done, SMALL_CONTENT)
    assert f"{hub.endpoint} answers {status}" in done.stderr


def test_no_hub_and_no_copy_end_within_seconds(home: Path) -> None:
    started = time.monotonic()
    refused(fetch(home, NO_HUB), f"{NO_HUB} does not answer", f"there is no copy in the cache, {home / 'hub'}")
    refused(fetch(home, NO_HUB, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE is set")
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and never says a word
        refused(fetch(home, f"http://127.0.0.1:{mute.getsockname()[1]}"), "does not answer")
    assert time.monotonic() - started < 40


def unusable(done: subprocess.CompletedProcess[str], home: Path, reason: str) -> None:
    assert done.returncode == 1, done.stderr
    assert f"the Hugging Face hub's cache in {home / 'hub'} cannot be used: " in done.stderr
    assert reason in done.stderr
    assert "HF_HOME or HF_HUB_CACHE names another folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_in_the_middle_is_the_disks_fault(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    unusable(fetch(home, hub.endpoint, first=SMALL_FILES), home, "File too large")
    assert len(hub.downloads) == 1
    assert partial_files(home) == []


def test_a_disk_without_the_space_is_not_filled(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, SMALL_CONTENT)
    hub.claimed_size = 10**18
    unusable(fetch(home, hub.endpoint), home, "1000000000000.0 MB are needed")
    assert hub.downloads == []


def test_a_cache_that_cannot_be_made_is_the_disks_fault(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, SMALL_CONTENT)
    home.write_text("a file where the folder should be")
    unusable(fetch(home, hub.endpoint), home, "Not a directory")
    assert hub.downloads == []
