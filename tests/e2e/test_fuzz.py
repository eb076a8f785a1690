"""The real service under random requests of both protocols: never a 5xx that says "a bug"; always ready and right."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import swinserve
from swin_proto.oip.v2.inference_pb2 import ModelInferRequest
from swin_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyStreamRequest, GetModelRequest, Image
from tests.e2e.running import Running
from tests.fuzz import seeds
from tests.fuzz.tally import SECONDS, Tally, for_seconds

CHECKS = (status_code_conformance, content_type_conformance, response_schema_conformance)
SERVED = {"model": "swin_digits", "version": "1.0"}
CLASSIFIER, INFERENCE = "/swinserve.v1.Classifier/", "/inference.GRPCInferenceService/"
METHODS = ("Classify", "GetModel", "ListModels", "ClassifyStream", "Nothing", "")
PATHS = (
    *(CLASSIFIER + name for name in METHODS),
    *(INFERENCE + name for name in ("ModelInfer", "ModelReady", "ModelMetadata")),
    *("/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    *("/", "//", "/swinserve.v1.Classifier", "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"),
)
REFUSALS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
FOREIGN = {"UNKNOWN", "INTERNAL"}
"""What gRPC's own health and reflection services answer to bytes that are no message of theirs."""


@pytest.fixture
def still_right(shared: Running, digit: Path) -> Iterator[Callable[[], None]]:
    """Asserts that the service is ready, and right about a good image; also at the end, by the same worker, and that it
    was ready all the time."""
    worker, unready, over = shared.worker().pid, [], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            if not shared.ready():
                unready.append(time.monotonic())

    looking = threading.Thread(target=look)

    def check() -> None:
        assert shared.ready()
        with swinserve.Client(shared.grpc, timeout=30) as client:
            assert client.classify(digit).results[0].predictions[0].label == digit.name.split("-")[0]

    check()
    looking.start()
    try:
        yield check
    finally:
        over.set()
        looking.join()
    check()
    assert shared.worker().pid == worker
    assert not unready


def test_the_openapi_document_is_kept_whatever_is_asked(shared: Running, still_right: Callable[[], None]) -> None:
    images = seeds.damaged()
    for media_type in ("image/jpeg", "image/png", "image/webp", "application/octet-stream"):
        schemathesis.openapi.media_type(media_type, images)
    document = schemathesis.openapi.from_url(f"{shared.http}/openapi.json")
    everything = [found.ok() for found in document.get_all_operations()]
    # With a version the others' calls are the same code, and each operation takes a second.
    operations = [each for each in everything if "{version}" not in each.path]
    assert len(operations) >= 14
    tally = Tally("REST")
    for operation in operations:
        drawn = st.tuples(operation.as_strategy(), st.booleans())
        for_seconds(SECONDS / len(operations), drawn, lambda drawn: send(*drawn, tally))
    tally.report()
    assert {"200", "400"} <= tally.outcomes.keys()


def send(case: Any, named: bool, tally: Tally) -> None:
    """named: as random names alone would never find a model"""
    if named:
        case.path_parameters = {name: SERVED[name] for name in case.path_parameters or {}}
    response = case.call()
    tally.add(str(response.status_code))
    assert response.status_code < 500 or response.status_code in (503, 504), response.text
    case.validate_response(response, checks=CHECKS)


def messages() -> st.SearchStrategy[bytes]:
    images = st.lists(st.builds(Image, content=seeds.damaged()), max_size=3)
    whole = st.builds(ClassifyRequest, model=st.sampled_from(["", "swin_digits", "x"]), images=images)
    named = st.builds(GetModelRequest, model=st.text(max_size=20), version=st.text(max_size=5))
    tensor = st.builds(
        ModelInferRequest.InferInputTensor,
        name=st.sampled_from(["image", "pixels"]),
        datatype=st.sampled_from(["BYTES", "UINT8"]),
        shape=st.sampled_from([[1], [1, 2, 2, 3]]),
    )
    raw = st.lists(st.binary(max_size=40) | st.just(bytes(12)), max_size=2)
    inference = st.builds(ModelInferRequest, inputs=st.lists(tensor, max_size=2), raw_input_contents=raw)
    return st.one_of(
        whole.map(ClassifyRequest.SerializeToString),
        named.map(GetModelRequest.SerializeToString),
        inference.map(ModelInferRequest.SerializeToString),
        st.binary(),
    )


METADATA = st.lists(
    st.tuples(
        st.sampled_from(["x-request-id", "traceparent", "grpc-timeout-x", "authorization", "a"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    )
    | st.tuples(st.just("x-bin"), st.binary(max_size=60)),
    max_size=4,
)


def test_random_messages_over_grpc_get_a_status_of_the_table(shared: Running, still_right: Callable[[], None]) -> None:
    tally = Tally("gRPC")
    with grpc.insecure_channel(shared.grpc.removeprefix("grpc://")) as channel:

        def check(drawn: tuple[str, list[bytes], list[tuple[str, Any]]]) -> None:
            path, sent, metadata = drawn
            code = status(channel, path, sent, metadata)
            tally.add(code)
            assert code in (REFUSALS if path.startswith((CLASSIFIER, INFERENCE)) else REFUSALS | FOREIGN), (path, code)

        inputs = st.tuples(st.sampled_from(PATHS), st.lists(messages(), min_size=1, max_size=3), METADATA)
        for_seconds(SECONDS, inputs, check)
    tally.report()
    assert {"OK", "INVALID_ARGUMENT", "UNIMPLEMENTED"} <= tally.outcomes.keys()


def status(channel: grpc.Channel, path: str, sent: list[bytes], metadata: list[tuple[str, Any]]) -> str:
    """Of a call of any method with any bytes: one message, or as a stream several."""
    try:
        if path.endswith(("Stream", "Info")):
            list(channel.stream_stream(path)(iter(sent), metadata=metadata, timeout=20))
        else:
            channel.unary_unary(path)(sent[0], metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_messages_over_the_limit_are_refused_before_they_take_memory(
    shared: Running, still_right: Callable[[], None]
) -> None:
    """As they are, compressed to a thousandth, or of the most fields there can be."""
    gateway = f"/proc/{shared.pid}"
    Path(f"{gateway}/clear_refs").write_text("5")  # the peak counts from here
    before = peak_mib(shared.pid)
    empty_images, unknown_fields = b"\x1a\x00" * (12 * 2**20), b"\xf8\x07\x01" * (8 * 2**20)
    large = ClassifyRequest(images=[Image(content=bytes(30_000_000))]).SerializeToString()
    tally = Tally("oversized gRPC")
    with grpc.insecure_channel(
        shared.grpc.removeprefix("grpc://"), options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        for sent, code, compression in (
            (large, "RESOURCE_EXHAUSTED", None),
            (large, "RESOURCE_EXHAUSTED", grpc.Compression.Gzip),
            (empty_images, "INVALID_ARGUMENT", None),
            (unknown_fields, "INVALID_ARGUMENT", None),
            (ClassifyRequest(model="m" * 20_000_000).SerializeToString(), "NOT_FOUND", None),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(CLASSIFIER + "Classify")(sent, timeout=60, compression=compression)
            tally.add(refused.value.code().name)
            assert refused.value.code().name == code
    grown = peak_mib(shared.pid) - before
    tally.report()
    print(f"the gateway's peak grew by {grown} MiB")
    assert grown < 300  # a few copies of 24 MiB; built as messages they would be gigabytes


def peak_mib(pid: int) -> int:
    """The most resident memory that a process has had, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


def test_a_stream_goes_on_after_a_message_that_is_none(shared: Running, digit: Path) -> None:
    good = ClassifyStreamRequest(id="good", image=Image(content=digit.read_bytes())).SerializeToString()
    with grpc.insecure_channel(shared.grpc.removeprefix("grpc://")) as channel:
        call = channel.stream_stream(CLASSIFIER + "ClassifyStream")(iter([b"\xff", good, b"\x0f"]), timeout=30)
        assert len(list(call)) == 3
