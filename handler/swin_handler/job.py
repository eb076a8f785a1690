"""The gateway's path: bytes of a Job -> Request; results -> bytes of an Answer (swin_proto/worker/v1/job.proto).

The messages are imported when the first job arrives, so that an archive in a stock TorchServe needs no protobuf.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swin_handler.batch import Facts
from swin_handler.config import CONTRACT_VERSION
from swin_handler.engine import Engine
from swin_handler.errors import BadJob, ImageError, Unreadable
from swin_handler.request import Request
from swin_handler.result import ActivationMaps, Result, wire

CONTENT_TYPE = "application/x-swinserve-job"
"""Of a request to TorchServe's REST whose body is a Job."""
GATEWAY_PID = "SWINSERVE_GATEWAY_PID"
"""Environment variable: whose memory shared images are in."""


def parse(data: bytes) -> Request:
    """Raises BadJob for bytes that are no Job and for another contract version, Unreadable for shared images."""
    messages = _messages()
    try:
        job = messages.Job.FromString(bytes(data))
    except Exception as error:  # protobuf's DecodeError, whose module depends on the runtime
        raise BadJob("the job is not a swinserve.worker.v1.Job message") from error
    if job.contract_version != CONTRACT_VERSION:
        raise BadJob(
            f"the job has contract version {job.contract_version}, this worker {CONTRACT_VERSION}: "
            "build the archive again with the gateway's release"
        )
    return Request(
        images=(*job.images, *map(_shared, job.shared_images)),
        top_k=job.top_k,
        min_score=job.min_score,
        embedding=job.embedding,
        class_activation_map=job.class_activation_map,
        expires_at=job.expires_at or None,
        request_id=job.request_id,
    )


def image_count(data: bytes) -> int:
    """Images of a job that was refused, at least 1: its answer needs room for the error."""
    try:
        job = _messages().Job.FromString(bytes(data))
        return max(1, len(job.images) + len(job.shared_images))
    except Exception:  # noqa: BLE001 - it is being refused for this already
        return 1


def _shared(image: Any) -> bytes:
    try:
        with Path(f"/proc/{os.environ[GATEWAY_PID]}/fd/{image.descriptor}").open("rb", buffering=0) as file:
            content = file.read(image.size)
    except (KeyError, OSError) as error:
        raise Unreadable(f"the image cannot be read where the gateway keeps it: {error}") from error
    if len(content) != image.size:
        raise Unreadable(f"of the image, {len(content)} of {image.size} bytes are where the gateway keeps it")
    return content


def encode(results: Sequence[Result], facts: Facts, engine: Engine, *, compiles: int) -> bytes:
    """compiles: of torch.compile, since the worker is ready"""
    messages = _messages()
    answer = messages.Answer(
        contract_version=CONTRACT_VERSION,
        results=[_result(messages, result) for result in results],
        entered_at=facts.entered_at,
        decode_seconds=facts.decode_seconds,
        inference_seconds=facts.inference_seconds,
        batch_size=facts.batch_size,
        padded_size=facts.padded_size,
        worker_pid=os.getpid(),
        backend=engine.backend,
        dtype=engine.dtype,
        engine_note=engine.note,
        compiles=compiles,
    )
    encoded: bytes = answer.SerializeToString()
    return encoded


def _result(messages: Any, result: Result) -> Any:
    if isinstance(result, ImageError):
        kind = messages.Error.Kind.Value(result.kind)
        return messages.Result(error=messages.Error(kind=kind, message=result.message))
    return messages.Result(
        top_k=messages.TopK(indices=result.indices, scores=result.scores),
        embedding=b"" if result.embedding is None else wire(result.embedding),
        activation_maps=_activation_maps(messages, result.activation_maps),
    )


def _activation_maps(messages: Any, maps: ActivationMaps | None) -> Any:
    if maps is None:
        return None
    height, width = maps.maps.shape[1:]
    return messages.ActivationMaps(height=height, width=width, data=wire(maps.maps), **maps.region._asdict())


def _messages() -> Any:
    from swin_proto.worker.v1 import job_pb2

    return job_pb2
