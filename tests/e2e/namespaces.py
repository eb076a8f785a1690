"""Two network namespaces with a wire between them, for who is outside and who is inside; by util-linux and iproute2.

Unprivileged user namespaces are enough, where the machine allows them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.running import until

INSIDE, OUTSIDE = ("10.77.0.1", "fd77::1"), ("10.77.0.2", "fd77::2")


@dataclass(frozen=True)
class Namespace:
    pid: int
    """Of a process that does nothing in it."""

    @property
    def entering(self) -> tuple[str, ...]:
        """What to put before a command that is to run in it."""
        return ("nsenter", f"--target={self.pid}", "--user", "--net", "--preserve-credentials", "--")

    def run(self, *command: str) -> str:
        done = subprocess.run([*self.entering, *command], check=True, capture_output=True, text=True)
        return done.stdout


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """With INSIDE's addresses and with OUTSIDE's. Raises OSError where the machine does not allow them."""
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        raise OSError(f"there is no {', '.join(missing)}")
    holders: list[subprocess.Popen[bytes]] = []
    try:
        inside = _hold(holders, "unshare", "--user", "--map-root-user", "--net")
        outside = _hold(holders, *inside.entering, "unshare", "--net")
        inside.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        inside.run("ip", "link", "set", "veth1", "netns", str(outside.pid))
        for namespace, device, addresses in ((inside, "veth0", INSIDE), (outside, "veth1", OUTSIDE)):
            namespace.run("ip", "address", "add", f"{addresses[0]}/24", "dev", device)
            namespace.run("ip", "-6", "address", "add", f"{addresses[1]}/64", "dev", device, "nodad")
            for each in ("lo", device):
                namespace.run("ip", "link", "set", each, "up")
        yield inside, outside
    except subprocess.CalledProcessError as error:
        raise OSError(f"{error.cmd}: {error.stderr}") from error
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def _hold(holders: list[subprocess.Popen[bytes]], *command: str) -> Namespace:
    """A namespace made by `command`, which becomes the process that holds it."""
    known = {_net(pid) for pid in (os.getpid(), *(each.pid for each in holders))}
    holder = subprocess.Popen([*command, "sleep", "600"], stderr=subprocess.PIPE)
    holders.append(holder)
    until(lambda: holder.poll() is not None or (_net(holder.pid) not in known and _mapped(holder.pid)), 20)
    if holder.poll() is not None:
        assert holder.stderr is not None
        raise OSError(holder.stderr.read().decode())
    return Namespace(holder.pid)


def _mapped(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/uid_map").read_text())


def _net(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())
