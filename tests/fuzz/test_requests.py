"""Bodies of every content type, query options, request ids and gRPC messages: images and options, or a 4xx of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from random import Random
from typing import Any

from hypothesis import strategies as st

from swin_proto.oip.v2.inference_pb2 import ModelInferRequest
from swin_proto.v1.classifier_pb2 import ClassifyOptions, ClassifyRequest, ClassifyStreamRequest, Image
from tests.fuzz import parsing
from tests.fuzz.tally import SECONDS, Tally, for_seconds

SHARE = SECONDS / 6

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary().map(base64.b64encode).map(bytes.decode),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["images", "content", "url"]) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode())
IMAGES = st.lists(st.binary(max_size=50), max_size=6).map(
    lambda images: json.dumps({"images": [{"content": base64.b64encode(image).decode()} for image in images]}).encode()
)
NESTED = st.tuples(st.sampled_from([b"[", b'{"images":', b'{"images":[{"content":']), st.integers(0, 9000)).map(
    lambda drawn: (drawn[0] * drawn[1])[: parsing.MAX_BYTES]
)
# What a multipart body is made of, in an order that may make none.
PIECES = st.lists(
    st.sampled_from(
        [
            *(b"--cut", b"\r\n--cut\r\n", b"--cut--", b"\r\n", b"\n", b": ", b'"', b";", b" " * 50, b"\0", b"--a b"),
            *(
                b"Content-Disposition: form-data; name=images; filename=a.png\r\n\r\n",
                b"name=",
                b"filename*=utf-8''%ff",
            ),
            *(b"Content-Type: image/png", b"Content-Transfer-Encoding: base64\r\n", b"x" * 3000, b"\xff\xfe"),
        ]
    )
    | st.binary(max_size=20),
    max_size=30,
)


def chunked(content: bytes, seed: int) -> list[bytes]:
    """In pieces of any size, as a network brings it."""
    cuts = sorted(Random(seed).randrange(len(content) + 1) for _ in range(seed % 5))
    return [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]


def joined(pieces: Iterable[bytes]) -> bytes:
    return b"".join(pieces)


def test_any_body_of_any_type_is_images_or_refused() -> None:
    tally = Tally("bodies")
    contents = st.one_of(PIECES.map(joined), JSON, IMAGES, NESTED, st.binary(max_size=300))
    inputs = st.tuples(st.sampled_from(parsing.CONTENT_TYPES), contents, st.integers(0, 10_000))
    for_seconds(SHARE, inputs, lambda drawn: tally.add(parsing.body(drawn[0], chunked(drawn[1], drawn[2]))))
    tally.report()
    assert {"images", "INVALID_REQUEST"} <= tally.outcomes.keys()


def test_any_query_is_options_or_refused() -> None:
    tally = Tally("query options")
    values = st.text(max_size=20) | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["true", "base64"])
    inputs = st.dictionaries(st.sampled_from(["top_k", "min_score", "embedding", "class_activation_map"]), values)
    for_seconds(SHARE / 2, inputs, lambda asked: tally.add(parsing.query(asked)))
    tally.report()
    assert {"options", "refused"} <= tally.outcomes.keys()


def test_any_request_id_is_short_and_printable() -> None:
    tally = Tally("request ids")
    for_seconds(SHARE / 2, st.binary(max_size=200), lambda asked: tally.add(parsing.request_id(asked)))
    tally.report()


def varied(kind: type[ClassifyRequest] | type[ClassifyStreamRequest]) -> st.SearchStrategy[bytes]:
    """Messages of that kind, whole, cut and doubled, and bytes that are none."""
    images = st.lists(st.builds(Image, content=st.binary(max_size=30)), max_size=6)
    options = st.builds(ClassifyOptions, top_k=st.integers(-(2**31), 2**31 - 1), min_score=st.floats(width=32))
    whole: st.SearchStrategy[bytes]
    if kind is ClassifyRequest:
        whole = st.builds(ClassifyRequest, model=st.text(max_size=9), images=images, options=options).map(
            ClassifyRequest.SerializeToString
        )
    else:
        whole = st.builds(ClassifyStreamRequest, id=st.text(max_size=9), options=options).map(
            ClassifyStreamRequest.SerializeToString
        )
    cut = st.tuples(whole, st.integers(0, 60)).map(lambda drawn: drawn[0][: drawn[1]])
    many = st.tuples(st.sampled_from([b"\x1a\x00", b"\x22\x02\x18\x01", b"\xf8\x07\x01"]), st.integers(0, 9000))
    return st.one_of(
        whole, cut, whole.map(lambda data: data * 3), many.map(lambda drawn: drawn[0] * drawn[1]), st.binary()
    )


def test_any_grpc_message_is_read_as_protobuf_reads_it_or_refused() -> None:
    tally = Tally("gRPC messages")
    for kind in (ClassifyRequest, ClassifyStreamRequest):
        for_seconds(SHARE, varied(kind), lambda data, kind=kind: tally.add(parsing.message(kind, data)))  # type: ignore[misc]
    tally.report()
    assert {"message", "INVALID_REQUEST", "TOO_LARGE"} <= tally.outcomes.keys()


# Numbers that a shape or a size might have: right ones, and those that overflow.
SIZES = st.sampled_from([0, 1, 2, 3, 4, 5, 12, 2**31, 2**62, -1]) | st.integers()
KEY = "AAAA"
"""Of an object among a tensor's data; base64, but nobody's image."""
DATA = st.recursive(
    st.integers(-1, 256) | st.sampled_from(["AA==", "?", "A" * 100_000, {KEY: 0}, None]),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, st.integers(0, 150)).map(lambda drawn: deep(*drawn)),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["image", "pixels", "x"]),
        "datatype": st.sampled_from(["BYTES", "UINT8", "FP32"]),
        "shape": st.sampled_from([[1], [2, 1], [1, 2, 2, 3], [1, 1, 1, 3]]) | st.lists(SIZES, max_size=5),
    },
    optional={
        "data": st.lists(DATA, max_size=12),
        "parameters": st.dictionaries(st.just("binary_data_size") | st.text(max_size=3), SIZES, max_size=2),
    },
)
OUTPUT = st.fixed_dictionaries(
    {"name": st.sampled_from(["scores", "labels", "embedding", "x"])},
    optional={"parameters": st.dictionaries(st.sampled_from(["classification", "binary_data"]), SIZES)},
)
INFERENCE = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=2)},
    optional={
        "id": st.text(max_size=3),
        "outputs": st.lists(OUTPUT, max_size=2),
        "parameters": st.dictionaries(st.sampled_from(["top_k", "timeout", "x"]), SIZES | st.booleans(), max_size=2),
    },
)


def deep(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def whole(images: list[bytes], behind: bool) -> tuple[bytes, bytes, None, bool]:
    """Those images, in the JSON or behind it."""
    tensor = b"".join(len(image).to_bytes(4, "little") + image for image in images) if behind else b""
    how: dict[str, Any] = {"data": [base64.b64encode(image).decode() for image in images]}
    if behind:
        how = {"parameters": {"binary_data_size": len(tensor)}}
    head = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(images)], **how}]}).encode()
    return head, tensor, None, behind


def test_any_body_of_an_inference_is_images_or_refused() -> None:
    tally = Tally("inferences")
    good = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["AA=="]}]}).encode()
    heads = INFERENCE.map(lambda asked: json.dumps(asked).encode()) | JSON | st.binary(max_size=50) | st.just(good)
    tensors = st.binary(max_size=30) | st.sampled_from([b"", bytes(12), b"\1\0\0\0x", b"\xff\xff\xff\xff"])
    lengths = st.none() | st.integers(-1, 200).map(str) | st.text(max_size=5)

    def check(drawn: tuple[bytes, bytes, str | None, bool]) -> None:
        head, tensor, length, right = drawn
        outcome = parsing.inference(head + tensor, str(len(head)) if right else length)
        assert outcome != "images" or KEY.encode() + b'":' not in head
        tally.add(outcome)

    assert parsing.inference(good, None) == "images"
    assert parsing.inference(good, "1") == "INVALID_REQUEST"
    right = st.builds(whole, st.lists(st.binary(max_size=20), min_size=1, max_size=parsing.MAX_IMAGES), st.booleans())
    for_seconds(SHARE, right | st.tuples(heads, tensors, lengths, st.booleans()), check)
    tally.report()
    assert {"images", "INVALID_REQUEST"} <= tally.outcomes.keys()


def test_any_message_of_an_inference_is_images_or_refused() -> None:
    tally = Tally("inference messages")
    tensors = st.builds(
        ModelInferRequest.InferInputTensor,
        name=st.sampled_from(["image", "pixels"]),
        datatype=st.sampled_from(["BYTES", "UINT8"]),
        shape=st.sampled_from([[1], [1, 2, 2, 3]]) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    )
    right = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3]}
    good = ModelInferRequest(inputs=[right], raw_input_contents=[bytes(12)])  # type: ignore[list-item]
    contents = st.lists(st.binary(max_size=20) | st.sampled_from([bytes(12), b"\1\0\0\0x"]), max_size=2)
    built = st.builds(
        ModelInferRequest, inputs=st.lists(tensors, max_size=2), raw_input_contents=contents, id=st.text(max_size=3)
    )
    whole = built.map(ModelInferRequest.SerializeToString) | st.just(good.SerializeToString())
    inputs = whole | st.binary(max_size=60) | st.tuples(whole, st.binary(max_size=20)).map(joined)
    assert parsing.inference_message(good.SerializeToString()) == "images"
    assert parsing.inference_message(b"\xff") == "INVALID_REQUEST"
    for_seconds(SHARE, inputs, lambda data: tally.add(parsing.inference_message(data)))
    tally.report()
    assert {"images", "INVALID_REQUEST"} <= tally.outcomes.keys()
