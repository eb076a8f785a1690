"""`swinserve classify FOLDER --output`: memory does not grow with the number of files."""

import subprocess
import sys
from pathlib import Path

FEW, MANY, SIZE = 200, 3000, 20_000
# A process of its own, for its own high-water mark; the service is in memory, and forgets.
PROGRAM = """
import resource, sys
from collections import deque
from swinserve import Client, ImageResult, Prediction
from swinserve.cli import main
from swinserve.commands import options
from swinserve.testing import InMemoryTransport

transport = InMemoryTransport(lambda image: ImageResult((Prediction("cat", 281, 0.9),)))
transport.asked = deque(maxlen=1)
options.connect = lambda *_: Client(transport=transport)
main(["classify", *sys.argv[1:]], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def kibibytes(folder: Path, files: int) -> int:
    """What classifying a folder of so many files takes at most."""
    folder.mkdir()
    (folder / "image").write_bytes(bytes(SIZE))
    for number in range(files):
        (folder / f"{number}.png").symlink_to("image")
    output = folder.with_suffix(".jsonl")
    command = [sys.executable, "-c", PROGRAM, str(folder), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert output.read_bytes().count(b"\n") == files
    return int(done.stdout)


def test_many_files_take_hardly_more_memory_than_few(tmp_path: Path) -> None:
    grown = kibibytes(tmp_path / "many", MANY) - kibibytes(tmp_path / "few", FEW)
    assert grown < (MANY - FEW) * SIZE / 1024 / 5  # their bytes alone would be five times as much
