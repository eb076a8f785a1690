"""`swinserve serve`: flags, environment and file -> settings -> the service, with exit codes and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
import structlog
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from swin_gateway.errors import StartError
from swin_gateway.listening import address
from swin_gateway.log import configure_logging
from swin_gateway.settings import PREFIX, SECRETS, ServeSettings, refusal

if TYPE_CHECKING:
    from swin_gateway.service import Service

log = structlog.get_logger("swinserve")

EXIT_ENDED, EXIT_CANNOT_START, EXIT_INTERRUPTED = 1, 2, 130
_ENDING = (signal.SIGTERM, signal.SIGINT)

EPILOG = f"""Every option can also be set as an environment variable or in the TOML file: flag > environment > file >
default. Secrets have no flag: {", ".join(PREFIX + name.upper() for name in sorted(SECRETS))} (or --token-file).

\b
Exit codes:
  0    drained after SIGTERM or ctrl-C
  1    TorchServe ended, or a model cannot be loaded any more
  2    cannot start
  130  interrupted a second time
"""


def _options(command: click.Command) -> click.Command:
    """One flag per field of the settings, so that all that can be set is in --help; secrets are named in EPILOG."""
    for name, field in ServeSettings.model_fields.items():
        if name != "models" and name not in SECRETS:
            flag, switch = name.replace("_", "-"), field.annotation is bool
            form = f"--{flag}/--no-{flag}" if switch else f"--{flag}"
            metavar = None if switch else _metavar(name, field)
            command.params.append(click.Option([form], default=None, metavar=metavar, help=_help(name, field)))
    return command


def _metavar(name: str, field: FieldInfo) -> str:
    """What to put in an option's place; pydantic checks what comes."""
    if get_origin(field.annotation) is Literal:
        return f"[{'|'.join(get_args(field.annotation))}]"
    if name.endswith("_port"):
        return "PORT"
    kinds = {int: "NUMBER", float: "SECONDS", Path: "PATH", tuple: "NAME,…"}
    types = (field.annotation, get_origin(field.annotation), *get_args(field.annotation))
    return next((kinds[each] for each in types if each in kinds), "TEXT")


def _help(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=False)
    notes = [f"env: {PREFIX}{name.upper()}"]
    if default is not None and default is not PydanticUndefined:
        notes.append(f"default: {','.join(default) if isinstance(default, tuple) else default}")
    return f"{field.description}  [{'; '.join(notes)}]"


@click.command(epilog=EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar=PREFIX + "CONFIG",
    show_envvar=True,
    help="TOML file of these settings",
)
def serve(models: tuple[str, ...], config: Path | None, **flags: Any) -> None:
    """Serve MODELs over gRPC and REST.

    A MODEL is the NAME of an archive in the model store, NAME@VERSION, or the path of a .mar file; by default all of
    the model store, each in its newest version. The first is the default model.
    """
    given = {name: value for name, value in flags.items() if value is not None} | ({"models": models} if models else {})
    try:
        settings = ServeSettings.load(given, config)
    except (ValueError, OSError) as error:
        _refuse(refusal(error))
    configure_logging(settings.log_level, settings.log_format)
    code = asyncio.run(_serve(settings))
    _forget_what_is_unwritten()
    sys.exit(code)


_options(serve)


def _forget_what_is_unwritten() -> None:
    """What a full disk did not take would make Python end with code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refuse(reason: str) -> None:
    click.echo(f"swinserve: {reason}", err=True)
    sys.exit(EXIT_CANNOT_START)


async def _serve(settings: ServeSettings) -> int:
    """The exit code."""
    # Imported here, a second long, so that --help and completion answer at once.
    from swin_gateway.archive import find_archives
    from swin_gateway.service import Service, ServiceFailed

    stop = _stop_on_signals()
    service = None
    try:
        service = Service(settings, find_archives(settings.models, settings.model_store), stop)
        await service.start()
        await service.wait_ready()
        if service.readiness.ready:
            _announce(service, settings)
        await service.run()
    except StartError as error:
        click.echo(f"swinserve: {error}", err=True)
        return EXIT_CANNOT_START
    except ServiceFailed as error:
        click.echo(f"swinserve: {error}", err=True)
        return EXIT_ENDED
    except asyncio.CancelledError:
        return EXIT_INTERRUPTED
    finally:
        _on_signals(lambda: None)  # cleaning up takes seconds, and half of it would leave a TorchServe behind
        if service is not None:
            await service.close()
        _ignore_signals()
    return 0


def _stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or ctrl-C, which drains; a second one cancels this task, which cleans up and ends."""
    main = asyncio.current_task()
    stop = asyncio.Event()

    def take() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    _on_signals(take)
    return stop


def _on_signals(call: Callable[[], None]) -> None:
    for number in _ENDING:
        asyncio.get_running_loop().add_signal_handler(number, call)


def _ignore_signals() -> None:
    """From here to the end of the process: handlers end with their loop, and Python takes a while from there."""
    for number in _ENDING:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _announce(service: Service, settings: ServeSettings) -> None:
    """The one line on stdout."""
    child = service.torchserve
    log.info(
        "torchserve",
        rest=child.rest_address,
        metrics=f"http://{child.host}:{child.metrics_port}/metrics",
        grpc=f"{child.host}:{child.grpc_port}",
        pid=child.pid,
    )
    names = ", ".join(f"{model.name}@{model.version}" for model in service.classifier.models)
    s = "s" if settings.tls_cert else ""
    metrics_address = address(settings.metrics_host or settings.host, service.metrics_port)
    try:
        click.echo(
            f"swinserve serves {names} at http{s}://{address(settings.host, service.http_port)} "
            f"grpc{s}://{address(settings.host, service.grpc_port)} metrics http{s}://{metrics_address}/metrics"
        )
    except OSError as error:  # a full disk, or nobody reads: no reason to end what serves
        log.warning("cannot write to stdout", error=str(error))
