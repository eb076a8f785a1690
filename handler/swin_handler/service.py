"""TorchServe's way in: `handle(None, context)` loads the model; `handle(rows, context)` answers one bytes per row.

A row is a job of the gateway's ({"body": bytes} of its content type; over gRPC {"job": bytes}), or TorchServe's own
{"body": bytes} / {"data": bytes}.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from swin_handler import faults, job, raw, ready
from swin_handler.batch import Facts, Pipeline
from swin_handler.config import Abilities
from swin_handler.engine import Engine, compiles
from swin_handler.errors import BadArchive, BadJob, ImageError, InternalFailure
from swin_handler.model import LoadedModel
from swin_handler.request import Request
from swin_handler.result import Result

log = logging.getLogger(__name__)

FATAL = "SWINSERVE_FATAL"
"""Starts the one stdout line that says why a worker cannot load; the gateway's supervisor looks for it."""

HANDLER = "SWINSERVE_HANDLER"
"""Environment variable: JSON of settings that the gateway was given, which win over the archive's section handler."""

Row = Mapping[str, Any]
Outcome = list[Result] | ImageError
"""Of one row: a result per image, or why the row as a whole was refused."""


class Context(Protocol):
    """What is used of TorchServe's ts.context.Context."""

    system_properties: Mapping[str, Any]
    model_yaml_config: Mapping[str, Any]

    def get_request_header(self, idx: int, key: str) -> str | None: ...
    def set_response_header(self, idx: int, key: str, value: str) -> None: ...
    def set_response_content_type(self, idx: int, value: str) -> None: ...
    def set_response_status(self, code: int, phrase: str, idx: int) -> None: ...


class Service:
    """One loaded model."""

    def __init__(self, pipeline: Pipeline, loaded: LoadedModel, made: Engine) -> None:
        self._pipeline = pipeline
        self._names = raw.unique(loaded.labels)
        self._abilities = loaded.abilities
        self._engine = made
        self._compiled_at_load = compiles.total()

    @classmethod
    def load(cls, folder: Path, settings: Mapping[str, Any], *, gpu: int | None) -> Service:
        """folder: the unpacked archive; settings: its model-config.yaml. Raises BadArchive."""
        made = ready.load(folder, settings, gpu=gpu, before_forward=faults.from_environment())
        log.info(
            "swinserve worker ready: %s %s, %s on %s in %s, batch buckets %s, %d threads, pid %d",
            made.manifest.name, made.manifest.version, made.engine.backend, made.device, made.engine.dtype,
            ",".join(map(str, made.engine.buckets)), made.threads, os.getpid(),
        )  # fmt: skip
        return cls(made.pipeline, made.loaded, made.engine)

    def handle(self, rows: Sequence[Row], context: Context) -> list[bytes]:
        """One answer per row, in order."""
        facts = Facts(entered_at=time.monotonic())
        jobs = [_job(row, index, context) for index, row in enumerate(rows)]
        requests = [_parse(row, data, self._abilities) for row, data in zip(rows, jobs, strict=True)]
        good = [request for request in requests if isinstance(request, Request)]
        results = iter(self._pipeline.classify(good, facts))
        outcomes = [next(results) if isinstance(request, Request) else request for request in requests]
        for index in range(len(rows)):
            if _is_grpc(context, index):
                # Without it a StreamPredictions call, which anyone on the port can make, kills the worker; over REST
                # it would drop the HTTP head (TorchServe 0.12, GRPCJob and RestJob).
                context.set_response_header(index, "ts_stream_next", "false")
        return [
            self._raw_answer(outcome, index, context) if data is None else self._job_answer(data, outcome, facts)
            for index, (data, outcome) in enumerate(zip(jobs, outcomes, strict=True))
        ]

    def _job_answer(self, data: bytes, outcome: Outcome, facts: Facts) -> bytes:
        results = [outcome] * job.image_count(data) if isinstance(outcome, ImageError) else outcome
        return job.encode(results, facts, self._engine, compiles=compiles.total() - self._compiled_at_load)

    def _raw_answer(self, outcome: Outcome, index: int, context: Context) -> bytes:
        result = outcome if isinstance(outcome, ImageError) else outcome[0]
        context.set_response_content_type(index, "application/json")
        if isinstance(result, ImageError):
            context.set_response_status(result.http, result.phrase, index)
            return raw.encode_error(result)
        return raw.encode(result, self._names)


_service: Service | None = None


def handle(rows: Sequence[Row] | None, context: Context) -> list[bytes]:
    """TorchServe's entry point; without rows it loads the model, as TorchServe's loader asks at start.

    Raises RuntimeError when the model cannot be loaded, after the FATAL line.
    """
    global _service
    if rows is None:
        _service = _load(context)
        return []
    assert _service is not None, "TorchServe loads before it asks"
    return _service.handle(rows, context)


def _load(context: Context) -> Service:
    properties = context.system_properties
    try:
        _configure_logging()
        settings = dict(context.model_yaml_config or {})
        settings["handler"] = {**(settings.get("handler") or {}), **json.loads(os.environ.get(HANDLER, "{}"))}
        return Service.load(Path(properties["model_dir"]), settings, gpu=properties.get("gpu_id"))
    except BadArchive as error:
        raise fatal(str(error)) from None
    except Exception as error:
        raise fatal(f"{type(error).__name__}: {error}") from error


class OneLine(logging.Formatter):
    """Our records with their level and on one line, tracebacks included; what else TorchServe reads, as it was."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not record.name.startswith("swin_handler"):
            return text
        return "\\n".join(f"{record.levelname} {record.name} {text}".splitlines())


def _configure_logging() -> None:
    logging.getLogger("swin_handler").setLevel(os.environ.get("SWINSERVE_LOG_LEVEL", "info").upper())
    root = logging.getLogger()
    root.addFilter(_is_worth_logging)
    for handler in root.handlers:
        if type(handler) is logging.StreamHandler:  # the one that ts made; pytest's are of other types
            handler.setFormatter(OneLine())


def _is_worth_logging(record: logging.LogRecord) -> bool:
    # ts logs this line for each batch; the JVM would parse and print it again, in the way of the next batch.
    return not str(record.msg).startswith("Backend received inference")


def fatal(reason: str) -> RuntimeError:
    """Print the one line for the supervisor; the error to raise (a RuntimeError: TorchServe catches no other)."""
    line = " ".join(reason.split())
    sys.stdout.write(f"{FATAL} {line}\n")
    sys.stdout.flush()
    return RuntimeError(line)


def _job(row: Row, index: int, context: Context) -> bytes | None:
    """The gateway's job; None if the row is not of the gateway."""
    if "body" in row and context.get_request_header(index, "content-type") == job.CONTENT_TYPE:
        return bytes(row["body"])
    return row.get("job")


def _parse(row: Row, data: bytes | None, abilities: Abilities) -> Request | ImageError:
    """data: of a job"""
    try:
        request = raw.parse(row) if data is None else job.parse(data)
        _refuse_impossible(request, abilities)
        return request
    except ImageError as error:
        return error
    except Exception:
        log.exception("unexpected failure while reading a request")
        return InternalFailure("the worker failed to read this request; its log has the traceback")


def _refuse_impossible(request: Request, abilities: Abilities) -> None:
    if request.embedding and not abilities.embedding_size:
        raise BadJob("this model has no embedding: its head cannot be run apart from the rest")
    if request.class_activation_map and abilities.activation_map is None:
        raise BadJob("this model has no class activation map: its logits are not the mean of one")


def _is_grpc(context: Context, index: int) -> bool:
    # TorchServe forwards no header over gRPC, and always these two over REST.
    return all(context.get_request_header(index, key) is None for key in ("url_path", "explain"))
