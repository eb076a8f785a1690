"""What TorchServe reads from its private folder: where it listens, who may call it, what it logs, what it runs.

Of all that it offers, only gRPC and metrics can be reached without entering that folder, and gRPC asks for a key that
is kept there: another user of the machine can neither list, load, scale nor classify anything.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from swin_gateway import die_with_parent
from swin_gateway.archive import Archive

# What TorchServe calls info is for us to debug with: a line for each model, worker and connection.
LOG4J_LEVELS = {"debug": "info", "info": "warn", "warning": "warn", "error": "error"}
# Netty warns of each connection that a unix socket has no SO_LINGER.
# TorchServe's default configuration writes every event three times, to files that grow to gigabytes (TORCHSERVE §1.3).
LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%p|%c|%m%n"/></Console></Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/><Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/><Logger name="org.apache" level="off"/>
    <Logger name="MODEL_LOG" level="info"/>
    <Logger name="io.netty.bootstrap" level="error"/>
    <Root level="LEVEL"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""
UNIX_SOCKETS = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
KEYS = "key_file.json"  # TorchServe's own name for it, in its working folder
KEY_MINUTES = 35_000_000
"""66 years, as long as a key can be made to last: TorchServe counts the seconds in 31 bits."""


def rest_address(folder: Path, name: str, host: str, port: int) -> str:
    """Where its REST of that name listens: a socket in the folder, where its jar has the native code for one."""
    return f"unix:{folder / name}.sock" if UNIX_SOCKETS else f"http://{host}:{port}"


def properties(
    folder: Path, archives: Sequence[Archive], *, host: str, ports: Mapping[str, int], max_message_bytes: int
) -> str:
    """ports: of "grpc", "grpc_management", "metrics", "rest" and "management" """
    facts = {
        "inference_address": rest_address(folder, "rest", host, ports["rest"]),
        "management_address": rest_address(folder, "management", host, ports["management"]),
        "metrics_address": f"http://{host}:{ports['metrics']}",
        "grpc_inference_address": host,
        "grpc_inference_port": ports["grpc"],
        "grpc_management_address": host,
        "grpc_management_port": ports["grpc_management"],
        "load_models": ",".join(f"{a.manifest.name}-{a.manifest.version}.mar" for a in archives),
        "allowed_urls": "file://none",
        "enable_model_api": "false",
        "disable_token_authorization": "false",
        "token_expiration_min": KEY_MINUTES,
        "disable_system_metrics": "true",
        "metrics_mode": "prometheus",
        "install_py_dep_per_model": "false",
        "decode_input_request": "false",  # else a binary body with a text type logs a traceback each
        "max_request_size": max_message_bytes,
        "max_response_size": max_message_bytes,
        "job_queue_size": 1000,  # never reached: the gateway dispatches two batches per worker
        "number_of_netty_threads": 2,
        "netty_client_threads": 1,
    }
    return "".join(f"{key}={value}\n" for key, value in facts.items())


def write(folder: Path, archives: Sequence[Archive], properties: str, log_level: str) -> None:
    store = folder / "store"
    store.mkdir()
    for archive in archives:
        (store / f"{archive.manifest.name}-{archive.manifest.version}.mar").symlink_to(archive.path.resolve())
    (folder / "log4j2.xml").write_text(LOG4J.replace("LEVEL", LOG4J_LEVELS[log_level]))
    (folder / "config.properties").write_text(properties)
    python = folder / "python"  # what TorchServe takes for the interpreter of its workers
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{die_with_parent.__file__}" "{sys.executable}" "$@"\n')
    python.chmod(0o700)


def inference_key(folder: Path) -> str:
    """What calls of its gRPC must bring; empty before TorchServe has written it."""
    try:
        keys = json.loads((folder / KEYS).read_text())
    except FileNotFoundError:
        return ""
    return str(keys["inference"]["key"])
