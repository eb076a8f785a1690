"""The environment of the image's container, for processes of this machine that stand for it."""

from __future__ import annotations

import os
import shutil

from tests.deploy.dockerfile import environment
from tests.e2e.running import SWINSERVE


def prefix(**settings: str) -> tuple[str, ...]:
    """What to put before a command: it gets the image's variables, `settings` on top, and nothing of this machine's.

    PATH has our own programs alone: neither a compiler nor a Java is found on it.
    """
    checkout = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}  # beside the installed one
    given = environment("cpu") | {"PATH": str(SWINSERVE.parent)} | checkout | settings
    env = shutil.which("env")
    assert env is not None
    return (env, "-i", *(f"{name}={value}" for name, value in given.items()))
