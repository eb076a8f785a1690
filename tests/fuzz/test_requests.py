"""Bodies of every content type, query options, request ids and gRPC messages: images and options, or a 4xx of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from random import Random

from hypothesis import strategies as st

from swin_proto.v1.classifier_pb2 import ClassifyOptions, ClassifyRequest, ClassifyStreamRequest, Image
from tests.fuzz import parsing
from tests.fuzz.tally import SECONDS, Tally, for_seconds

SHARE = SECONDS / 4

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
