"""A lock -> all of it but torch and what torch alone brings, with hashes; the pins of torch and torchvision, without.

`split_lock.py LOCK OTHERS TORCH`, for an index whose builds of torch are other files under the same versions.
"""

import re
import sys
from pathlib import Path

PINS = {"torch", "torchvision"}
BROUGHT = re.compile(r"cuda-|nvidia-|triton$")
"""Of torch's build for CUDA alone; which of them, and which versions, another build wants, it says itself."""


def split(lock: str) -> tuple[str, str]:
    """The lock without those packages, and the pins, one a line."""
    others, torch = [], []
    for entry in re.split(r"^(?=[a-zA-Z0-9])", lock, flags=re.MULTILINE):
        name = re.split(r"[=\[ ]", entry, maxsplit=1)[0]
        if name in PINS:
            torch.append(entry.split()[0])
        elif not BROUGHT.match(name):
            others.append(entry)
    if len(torch) != len(PINS):
        raise SystemExit(f"the lock pins {', '.join(torch) or 'neither torch nor torchvision'}")
    return "".join(others), "".join(f"{pin}\n" for pin in torch)


if __name__ == "__main__":
    lock, others, torch = map(Path, sys.argv[1:])
    for target, text in zip((others, torch), split(lock.read_text()), strict=True):
        target.write_text(text)
