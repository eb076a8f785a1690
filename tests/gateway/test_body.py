"""Bodies as ASGI brings them: in chunks, with or without an honest Content-Length."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request

from swin_gateway import body
from swin_gateway.body import BodyReader
from swin_gateway.errors import Cancelled, InvalidRequest, TooLarge

from .assembly import PNG

MAX_BYTES = 10_000
READER = BodyReader(max_bytes=MAX_BYTES, max_images=3)
MULTIPART = "multipart/form-data; boundary=cut"


def request(chunks: Iterator[bytes] | list[bytes], content_type: str = "", **headers: str) -> Request:
    source = iter(chunks)
    named = {"content-type": content_type} if content_type else {}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in (named | headers).items()]

    async def receive() -> dict[str, Any]:
        chunk = next(source, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def multipart(*files: bytes, end: bytes = b"--cut--\r\n") -> bytes:
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name="images"; filename="%d.png"\r\n\r\n%b\r\n' % part
        for part in enumerate(files)
    ]
    return b"".join(parts) + end


def json_body(*images: bytes) -> bytes:
    return json.dumps({"images": [{"content": base64.b64encode(image).decode()} for image in images]}).encode()


@pytest.mark.parametrize("content_type", ["", "image/png", "application/octet-stream", "text/plain", "nonsense"])
async def test_any_other_body_is_one_raw_image(content_type: str) -> None:
    assert await READER.images(request([PNG[:10], b"", PNG[10:]], content_type)) == [PNG]


async def test_an_empty_body_is_one_empty_image() -> None:
    assert await READER.images(request([])) == [b""]


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
async def test_multipart_brings_many_files_in_order_whatever_the_chunks(chunk: int) -> None:
    content = multipart(b"one", b"two \r\n--cu", b"three")
    chunks = [content[start : start + chunk] for start in range(0, len(content), chunk)]
    assert await READER.images(request(chunks, MULTIPART)) == [b"one", b"two \r\n--cu", b"three"]


async def test_a_multipart_field_that_is_no_file_is_refused_by_name() -> None:
    """Left out silently it would shift the results against the parts."""
    field = b'--cut\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    with pytest.raises(InvalidRequest, match="note"):
        await READER.images(request([field + multipart(PNG)], MULTIPART))


async def test_far_too_many_multipart_files_are_too_large() -> None:
    with pytest.raises(TooLarge, match="3"):
        await READER.images(request([multipart(*[b"x"] * 20)], MULTIPART))


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", multipart(PNG)),
        (MULTIPART, b"no boundary in here"),
        (MULTIPART, b"--cut\r\nno colon\r\n\r\nx\r\n--cut--"),
        (MULTIPART, b"--cut\r\nContent-Type: image/png\r\n\r\nx\r\n--cut--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 300, multipart(PNG)),
    ],
    ids=["no boundary named", "another boundary", "broken header", "no name", "boundary too long"],
)
async def test_broken_multipart_is_an_invalid_request(content_type: str, content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="multipart"):
        await READER.images(request([content], content_type))


async def test_a_multipart_body_that_ends_early_never_passes_for_a_whole_file() -> None:
    assert await READER.images(request([multipart(b"one", b"cut of", end=b"")[:-10]], MULTIPART)) == [b"one"]


async def test_json_can_be_written_with_spaces_and_lines() -> None:
    content = json.dumps(json.loads(json_body(PNG, b"x", b"y")), indent=4).encode()
    assert await READER.images(request([content], "application/json")) == [PNG, b"x", b"y"]


async def test_json_brings_base64() -> None:
    content = json_body(PNG, b"", b"x")
    assert await READER.images(request([content], "application/json; charset=utf-8")) == [PNG, b"", b"x"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "body"),
        (b'{"images": [', "Invalid JSON"),
        (b"[]", "body"),
        (b"{}", "images"),
        (b'{"images": [{"content": 5}]}', r"images\.0\.content"),
        (b'{"images": [{"content": "eA==", "url": "x"}]}', r"images\.0\.url"),
        (b'{"images": [], "top_k": 3}', "top_k"),
        (b'{"images": [{"content": "eA="}]}', "no base64"),
        (b'{"images": [{"content": "e A=="}]}', "no base64"),
        ('{"images": [{"content": "Grüße"}]}'.encode(), "no base64"),
    ],
)
async def test_broken_json_says_where(content: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        await READER.images(request([content], "application/json"))


async def test_what_curl_calls_a_form_unless_told_otherwise_is_one_raw_image() -> None:
    assert await READER.images(request([PNG], "application/x-www-form-urlencoded")) == [PNG]


TYPES = ["image/png", MULTIPART, "application/json", "application/x-www-form-urlencoded"]


@pytest.mark.parametrize("content_type", TYPES)
async def test_a_body_that_announces_too_much_is_too_large(content_type: str) -> None:
    with pytest.raises(TooLarge, match="10000"):
        await READER.images(request([PNG], content_type, content_length="10001"))


@pytest.mark.parametrize("content_type", TYPES)
async def test_a_body_that_streams_too_much_is_too_large(content_type: str) -> None:
    start = multipart(b"x", end=b"--cut\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n")
    with pytest.raises(TooLarge):
        await READER.images(request([start, *[b"x" * 1000] * 11], content_type))


@pytest.mark.parametrize("headers", [{}, {"content_length": "10000"}])
async def test_a_body_of_exactly_the_limit_is_taken(headers: dict[str, str]) -> None:
    (image,) = await READER.images(request([b"x" * 1000] * 10, **headers))
    assert len(image) == MAX_BYTES


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("announced", [{}, {"content_length": "20000000"}], ids=["chunked", "announced"])
async def test_never_more_than_about_the_cap_is_held(content_type: str, announced: dict[str, str]) -> None:
    cap = 1_000_000
    start = multipart(end=b"--cut\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n")
    read = 0

    def chunks() -> Iterator[bytes]:
        nonlocal read
        yield start
        for _ in range(200):  # 20 MB
            read += 100_000
            yield bytes(100_000)

    reader = BodyReader(max_bytes=cap, max_images=3)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            await reader.images(request(chunks(), content_type, **announced))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 20_000_000  # so that a client which sends first and listens later hears the refusal
    assert peak < 1.7 * cap


async def test_a_refused_body_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "DISCARD_BYTES", 50_000)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    with pytest.raises(TooLarge):
        await READER.images(request(endless()))


@pytest.mark.parametrize("content_type", ["image/png", MULTIPART])
async def test_a_client_that_goes_away_while_sending_cancels(content_type: str) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    raw = [(b"content-type", content_type.encode())]
    with pytest.raises(Cancelled):
        await READER.images(Request({"type": "http", "headers": raw}, receive))


@pytest.mark.parametrize("item", [b'{"content":""}', b"0", b"[]"])
async def test_a_json_body_of_very_many_items_is_too_large_before_they_are_built(item: bytes) -> None:
    content = b'{"images":[' + b",".join([item] * 60_000) + b"]}"
    reader = BodyReader(max_bytes=1_000_000, max_images=3)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="3"):
            await reader.images(request([content], "application/json"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "slow",
    [
        pytest.param(b"\r\n--cut" + b" " * 1_000_000, id="spaces after a boundary"),
        pytest.param(b"\r\n--cutx" * 120_000, id="boundaries that go on"),
    ],
)
async def test_a_multipart_body_that_takes_long_to_read_is_given_up(
    monkeypatch: pytest.MonkeyPatch, slow: bytes
) -> None:
    """The parser goes through these byte by byte. Measured in CPU time, so that a busy machine is no reason."""
    monkeypatch.setattr(body, "PARSE_SECONDS", 0.01)
    reader = BodyReader(max_bytes=2_000_000, max_images=3)
    content = multipart(PNG, end=slow)
    chunks = [content[start : start + 65536] for start in range(0, len(content), 65536)]
    with pytest.raises(InvalidRequest, match="takes too long to read"):
        await reader.images(request(chunks, MULTIPART))
    plain = multipart(bytes(1_000_000))
    chunks = [plain[start : start + 65536] for start in range(0, len(plain), 65536)]
    assert await reader.images(request(chunks, MULTIPART)) == [bytes(1_000_000)]


async def test_an_error_repeats_no_more_than_a_line_of_the_body() -> None:
    name = "x" * 9000
    for content in (json.dumps({name: 1}), json.dumps({"images": [{"content": "eA==", name: 1}]})):
        with pytest.raises(InvalidRequest) as refusal:
            await READER.images(request([content.encode()], "application/json"))
        assert len(refusal.value.message) < 300


@pytest.mark.parametrize("opening", [b"[", b'{"images":', b'{"images":[{"content":'])
async def test_json_nested_without_end_is_an_invalid_request(opening: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await READER.images(request([(opening * 9000)[:MAX_BYTES]], "application/json"))
