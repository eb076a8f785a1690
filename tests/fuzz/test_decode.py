"""Coverage-guided: whatever bytes there are, they become a tensor of the model's size or one of our errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from tests.fuzz import decoding, seeds
from tests.fuzz.tally import SECONDS

ROOT = Path(__file__).resolve().parents[2]


def test_every_seed_is_decoded_and_every_hostile_file_refused() -> None:
    assert {name: decoding.outcome(content) for name, content in seeds.images().items()} == dict.fromkeys(
        seeds.images(), "decoded"
    )
    refused = {name: decoding.outcome(content) for name, content in seeds.hostile().items()}
    assert refused == {
        "nothing": "UNDECODABLE",
        "text": "UNSUPPORTED_TYPE",
        "lying png": "UNDECODABLE",
        "png of 4 gigapixels": "TOO_LARGE",
        "png of a negative length": "UNDECODABLE",
        "jpeg of two frames": "TOO_LARGE",
        "jpeg of 200 scans": "TOO_LARGE",
        "tiff of a million strips": "TOO_LARGE",
        "tiff of a large tile": "TOO_LARGE",
        "tiff that is its own next page": "TOO_LARGE",
        "webp of a large canvas": "TOO_LARGE",
        "gif of a large frame": "TOO_LARGE",
    }


def test_any_bytes_become_a_tensor_or_an_error_of_ours(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    corpus, found = tmp_path / "corpus", tmp_path / "found"
    for folder in (corpus, found):
        folder.mkdir()
    for name, content in (seeds.images() | seeds.hostile()).items():
        (corpus / name.replace(" ", "-")).write_bytes(content)
    limits = ("-max_len=20000", "-rss_limit_mb=3000", "-timeout=60", f"-artifact_prefix={found}/")
    command = [sys.executable, "-m", "tests.fuzz.decode_fuzzer", corpus, *limits, f"-max_total_time={SECONDS:.0f}"]
    said: deque[str] = deque(maxlen=100)
    # Not under coverage, which would slow what is counted by other means.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment) as fuzzer:
        assert fuzzer.stderr is not None
        for line in fuzzer.stderr:
            said.append(line)
            if SECONDS > 60 and line.startswith("#"):
                print("\r" + line.strip().ljust(100), end="", flush=True)
    tail = "".join(said)
    crashes = {path.name: path.read_bytes() for path in found.iterdir()}
    assert fuzzer.returncode == 0, f"{crashes}\n{tail}"
    done = re.search(r"Done (\d+) runs in (\d+) second", tail)
    assert done, tail
    print(f"\ndecode: {done[1]} inputs in {done[2]} s, {len(list(corpus.iterdir()))} files that find new ways")
