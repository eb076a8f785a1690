"""Archives and settings -> one running TorchServe on loopback, as a child that dies with this process.

TorchServe's own launcher ignores SIGTERM and orphans its JVM, so the JVM is started directly. Everything TorchServe
writes (sockets, unpacked archives, its configuration) goes to one private folder that is removed at the end.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from swin_gateway import die_with_parent, torchserve_configuration
from swin_gateway.archive import Archive
from swin_gateway.errors import StartError
from swin_gateway.runtime_folder import RuntimeFolder
from swin_gateway.secrets_in_environment import without_secrets

log = structlog.get_logger("torchserve")

TAIL_LINES = 20
END_SECONDS = 5.0  # between SIGTERM and SIGKILL
PUMP_SECONDS = 1.0  # for the last of its output, once it has ended
REASON_LENGTH = 300  # characters: torch lists every tensor that does not fit
FATAL = "SWINSERVE_FATAL "  # the handler prints this before it gives up loading
LEVELS = {  # log4j's and Python's names -> ours
    **{"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warning", "WARNING": "warning"},
    **{"ERROR": "error", "FATAL": "error", "CRITICAL": "error"},
}
WORKER_LINE = re.compile(r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL) (swin_handler.*)$")  # as the handler formats it
LINE = re.compile(r"^(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\|([\w.$]+)\|(.*)$")


class TorchServe:
    """One TorchServe process. Call `start`, watch `wait`, end with `stop`."""

    def __init__(
        self,
        archives: Sequence[Archive],
        *,
        java: Path,
        heap_mb: int,
        max_message_bytes: int,
        log_level: str = "info",
        handler: str = "{}",
    ) -> None:
        """log_level: for TorchServe and its workers as for ourselves; handler: JSON that wins over the archives'"""
        self._log_level = log_level
        self._handler = handler
        self._archives = archives
        self._java = java
        self._heap_mb = heap_mb
        self._max_message_bytes = max_message_bytes
        self._runtime = RuntimeFolder()
        self._folder = self._runtime.path
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self.ending = False
        """Whether it is given up: what it still has to say is for debugging."""
        self.fatal: asyncio.Queue[str] = asyncio.Queue()
        """The reason, each time a worker says that its model cannot be loaded."""
        self.host = loopback_address(os.getpid())
        names = ("grpc", "metrics", "grpc_management", "rest", "management")
        self._ports = dict(zip(names, free_ports(len(names), self.host), strict=True))
        self.grpc_port, self.metrics_port = self._ports["grpc"], self._ports["metrics"]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def rest_address(self) -> str:
        """unix:PATH in its private folder, or a URL where that cannot be; either asks for the key."""
        return torchserve_configuration.rest_address(self._folder, "rest", self.host, self._ports["rest"])

    def inference_key(self) -> str:
        """What its gRPC asks for with each call; known once it listens."""
        return torchserve_configuration.inference_key(self._folder)

    @property
    def tail(self) -> str:
        """The last lines it printed."""
        return "\n".join(self._tail)

    async def start(self) -> None:
        """Starts the JVM; models are not loaded yet when this returns.

        Raises:
            StartError: the process cannot be started.
        """
        self._write_configuration()
        # Idle OpenMP threads that spin take the cores from decoding and from each other: on two busy cores a forward
        # pass of 2 ms was seen to take 470 ms. Only the environment reaches them, torch being imported before us.
        pid = str(os.getpid())
        ours = {"PARENT_PID": pid, "GATEWAY_PID": pid, "LOG_LEVEL": self._log_level, "HANDLER": self._handler}
        environment = {"OMP_WAIT_POLICY": "PASSIVE"} | without_secrets(os.environ)
        environment |= {f"SWINSERVE_{name}": value for name, value in ours.items()}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-IS", die_with_parent.__file__, *self._command()),
                cwd=self._folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # ctrl-C in the terminal is for the gateway, which drains first
            )
        except OSError as error:
            raise StartError(f"cannot start TorchServe: {error}") from error
        self._pump = asyncio.create_task(self._read_output())

    async def wait(self) -> int:
        """Returns the exit code when TorchServe has ended, its output read to the end."""
        assert self._process is not None
        assert self._pump is not None
        code = await self._process.wait()
        await asyncio.wait([self._pump], timeout=PUMP_SECONDS)
        return code

    async def stop(self, timeout: float = END_SECONDS) -> None:
        """SIGTERM, after `timeout` seconds SIGKILL; removes the folder. Nothing may be in flight any more."""
        self.ending = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), timeout)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._pump is not None:
            await asyncio.wait([self._pump], timeout=PUMP_SECONDS)
        self._runtime.remove()

    def _command(self) -> list[str]:
        home = _torchserve_home()
        return [
            str(self._java),
            f"-Xmx{self._heap_mb}m",
            f"-XX:MaxDirectMemorySize={self._heap_mb}m",
            "-XX:+UseSerialGC",  # the smallest footprint, and the JVM has little to collect
            "-XX:TieredStopAtLevel=1",  # it passes bytes on: what the second compiler costs, it does not bring back
            "-XX:+ExitOnOutOfMemoryError",
            f"-Djava.io.tmpdir={self._folder}",
            f"-Dmodel_server_home={home}",
            f"-Dlog4j.configurationFile={self._folder / 'log4j2.xml'}",
            *("-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer"),
            *("--python", str(self._folder / "python")),
            *("-f", str(self._folder / "config.properties")),
            *("-s", str(self._folder / "store")),
            "-ncs",
        ]

    def _write_configuration(self) -> None:
        torchserve_configuration.write(self._folder, self._archives, self._properties(), self._log_level)

    def _properties(self) -> str:
        return torchserve_configuration.properties(
            self._folder, self._archives, host=self.host, ports=self._ports, max_message_bytes=self._max_message_bytes
        )

    async def _read_output(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await _read_line(self._process.stdout):
            self._take_line(line.decode(errors="replace").rstrip())

    def _take_line(self, line: str) -> None:
        match = LINE.match(line)
        level, logger, message = match.groups() if match else ("INFO", "stdout", line)
        if logger == "MODEL_LOG" and (own := WORKER_LINE.match(message)):
            level, message = own.groups()  # TorchServe's own level of a worker's line says nothing
        self._tail.append(message)
        if message.startswith(FATAL):
            self.fatal.put_nowait(message.removeprefix(FATAL)[:REASON_LENGTH])
        write: Callable[..., None] = log.debug if self.ending else getattr(log, LEVELS[level])
        write(message, source=logger.rsplit(".", 1)[-1])


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    """One line, however long: what exceeds the reader's buffer is dropped, an overlong line must not end the pump."""
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line too long to show)\n"


def _torchserve_home() -> Path:
    """The folder that holds the `ts` package, found without importing it (it would import torch)."""
    spec = importlib.util.find_spec("ts")
    if spec is None or not spec.submodule_search_locations:
        raise StartError("TorchServe is not installed: pip install 'swinserve[serve]'")
    return Path(spec.submodule_search_locations[0]).parent


def loopback_address(pid: int) -> str:
    """One of Linux's 16 million, for each process another: TorchServe binds its ports seconds after they were chosen,
    and until then another service that starts could be given the same ones. Other systems have 127.0.0.1 alone."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return f"127.{64 + (pid >> 16) % 64}.{pid >> 8 & 255}.{pid & 255}"


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports of a loopback address that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
