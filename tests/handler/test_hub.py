"""Downloads from the Hugging Face hub: its real client, in processes of its own, against a hub in this process."""

from __future__ import annotations

import errno
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import timm

from swin_handler.build import hub as fetching
from swin_handler.build.errors import HubUnreachable
from tests.handler.fake_hub import NO_HUB, Break, FakeHub
from tests.handler.hub_client import (
    CONTENT,
    FETCH,
    PICKLED,
    REPOSITORY,
    SAFE,
    SMALL_CONTENT,
    STEP,
    fetch,
    fetched,
    partial_files,
    refused,
)


def test_the_file_lies_in_the_clients_own_cache_under_its_own_name(hub: FakeHub, home: Path) -> None:
    digest = hub.put(REPOSITORY, SAFE, CONTENT)
    path = fetched(fetch(home, hub.endpoint))
    assert path.name == SAFE
    assert path.is_relative_to(home / "hub" / "models--timm--some_vit.of_somebody" / "snapshots")
    assert hub.downloads == [f"GET /cdn/{digest}/{SAFE}"]

    again = fetch(home, hub.endpoint)
    assert fetched(again) == path
    assert "is in the cache already" in again.stderr
    assert len(hub.downloads) == 1


def test_safetensors_are_preferred_and_pickled_weights_come_where_there_are_no_others(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, PICKLED, SMALL_CONTENT)
    assert fetched(fetch(home, hub.endpoint), SMALL_CONTENT).name == PICKLED
    hub.put(REPOSITORY, SAFE, CONTENT)
    assert fetched(fetch(home, hub.endpoint)).name == SAFE
    hub.put("timm/old", PICKLED, SMALL_CONTENT)
    fetched(fetch(home, hub.endpoint, repository="timm/old"), SMALL_CONTENT, "timm/old")
    offline = fetch(home, NO_HUB, repository="timm/old")
    assert fetched(offline, SMALL_CONTENT, "timm/old").name == PICKLED


def test_a_connection_closed_in_the_middle_is_resumed_where_it_broke(hub: FakeHub, home: Path) -> None:
    digest = hub.put(REPOSITORY, SAFE, CONTENT)
    hub.breaks = [Break(STEP + 99, "close"), Break(STEP + 1, "close")]
    fetched(fetch(home, hub.endpoint))
    place = f"GET /cdn/{digest}/{SAFE}"
    assert hub.downloads == [place, f"{place} bytes={STEP}-", f"{place} bytes={2 * STEP}-"]


def test_a_connection_gone_silent_is_resumed_where_it_broke(hub: FakeHub, home: Path) -> None:
    digest = hub.put(REPOSITORY, SAFE, CONTENT)
    hub.breaks = [Break(STEP + 99, "stall")]
    fetched(fetch(home, hub.endpoint))
    assert hub.downloads[1:] == [f"GET /cdn/{digest}/{SAFE} bytes={STEP}-"]


def test_a_connection_reset_in_the_middle_starts_over(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    hub.breaks = [Break(STEP + 99, "reset")]
    done = fetch(home, hub.endpoint)
    fetched(done)
    assert len(hub.downloads) == 2
    assert "starting over, try 2 of 3" in done.stderr


def test_a_connection_that_is_reset_every_time_ends_after_three_tries(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    hub.breaks = [Break(STEP + 99, "reset")] * 9
    refused(fetch(home, hub.endpoint), "the download failed")
    assert len(hub.downloads) == 3
    assert partial_files(home) == []


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (401, "RepoNotFound", f"answers 401: no such repository as {REPOSITORY}, or private; log in with"),
        (401, "", f"answers 401: no such repository as {REPOSITORY}, or private; log in with"),
        (404, "RevisionNotFound", "answers 404"),
        (404, "EntryNotFound", f"{REPOSITORY} has no {SAFE} and no {PICKLED}"),
        (403, "GatedRepo", f"{REPOSITORY} is gated; ask for access at"),
        (403, "", "answers 403"),
        (500, "", "answers 500"),
    ],
)
def test_a_refusal_of_the_hub_is_told_in_words(hub: FakeHub, home: Path, status: int, code: str, reason: str) -> None:
    hub.status, hub.error_code = status, code
    done = fetch(home, hub.endpoint)
    refused(done, reason)
    assert "does not answer" not in done.stderr


def test_a_server_that_is_no_hub_is_told_from_one(home: Path) -> None:
    with FakeHub(status=200) as portal:
        refused(fetch(home, portal.endpoint), "does not answer as a hub does")


def test_a_gated_repository_opens_with_the_users_token(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, SMALL_CONTENT)
    hub.token = "hf_secret"
    refused(fetch(home, hub.endpoint), "is gated")
    fetched(fetch(home, hub.endpoint, HF_TOKEN="hf_secret"), SMALL_CONTENT)


def test_weights_that_are_not_on_the_hub_are_refused() -> None:
    cfg = timm.get_pretrained_cfg("gcvit_tiny.in1k")
    assert cfg is not None
    with pytest.raises(HubUnreachable, match=r"it does not have them, only https://github\.com/\S+ has"):
        fetching.fetch(cfg, "gcvit_tiny.in1k")
    with pytest.raises(HubUnreachable, match="nobody hosts them"):
        fetching.fetch({"architecture": "vit_tiny"}, "vit_tiny")


def test_a_progress_bar_is_shown_on_a_terminal(hub: FakeHub, home: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    program = subprocess.Popen(
        [sys.executable, "-c", FETCH, REPOSITORY],
        env={**os.environ, **hub.environment(home), "TQDM_MININTERVAL": "0"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = everything_on(ours)
    assert program.wait(timeout=60) == 0, shown
    assert f"Downloading {SAFE} of {REPOSITORY}, 21.0 MB" in shown
    assert {"0%", "50%", "100%"} <= set(re.findall(rf"{SAFE}: +(\d+%)\|", shown))


def everything_on(terminal: int) -> str:
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError as error:
        assert error.errno == errno.EIO  # Linux: nobody has the other end open any more
    os.close(terminal)
    return shown.decode()


def test_ctrl_c_in_the_middle_leaves_nothing_half_done(hub: FakeHub, home: Path, tmp_path: Path) -> None:
    hub.put(REPOSITORY, SAFE, CONTENT)
    hub.breaks = [Break(STEP + 99, "stall")]
    given = {**os.environ, **hub.environment(home), "HF_HUB_DOWNLOAD_TIMEOUT": "30"}
    program = subprocess.Popen([sys.executable, "-c", FETCH, REPOSITORY], env=given, stderr=subprocess.PIPE, text=True)
    assert hub.stalled.wait(timeout=30)
    program.send_signal(signal.SIGINT)
    _, told = program.communicate(timeout=10)
    assert "Traceback" not in told
    assert program.returncode == 1  # click's own; `swinserve` makes it 130
    refused(fetch(home, NO_HUB), "there is no copy in the cache")
    fetched(fetch(home, hub.endpoint))
