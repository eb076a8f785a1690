"""What bad input gets, over both protocols: the table's status, a message that helps, the request id; and no harm."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

import swinserve
from tests.e2e.reflected import ReflectedClient
from tests.e2e.running import Running, curl, get


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with one row's worth of data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    )


def one_colour_png(edge: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (edge, edge)).save(buffer, "PNG")
    return buffer.getvalue()


def truncated(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


@pytest.fixture(scope="session")
def bad(samples: dict[Path, str]) -> dict[str, bytes]:
    jpeg = next(path for path in samples if path.suffix in (".jpg", ".jpeg"))
    return {
        "empty": b"",
        "text file": b"this is not an image, it is a poem\n" * 20,
        "truncated JPEG": truncated(jpeg),
        "PNG with a lying header": png_header(640, 480),
        "20,000 x 20,000 PNG": one_colour_png(20_000),
    }


EXPECTED = {
    "empty": (swinserve.InvalidRequest, 400, "empty"),
    "text file": (swinserve.UnsupportedType, 415, "JPEG"),
    "truncated JPEG": (swinserve.UndecodableImage, 422, "truncated"),
    "PNG with a lying header": (swinserve.UndecodableImage, 422, "truncated"),
    "20,000 x 20,000 PNG": (swinserve.TooLarge, 413, "20000×20000"),
}


@pytest.fixture(params=["grpc", "http"])
def client(shared: Running, request: pytest.FixtureRequest) -> Iterator[swinserve.Client]:
    with swinserve.Client(getattr(shared, request.param), timeout=30) as client:
        yield client
    assert shared.ready()


@pytest.mark.parametrize("case", EXPECTED)
def test_a_bad_image_gets_its_error_and_the_request_id(
    client: swinserve.Client, bad: dict[str, bytes], case: str
) -> None:
    kind, http, words = EXPECTED[case]
    with pytest.raises(kind, match=words) as caught:
        client.classify(bad[case], request_id=f"bad-{http}")
    assert caught.value.http == http
    assert caught.value.request_id == f"bad-{http}"


def test_a_good_image_in_the_same_call_keeps_its_answer(
    client: swinserve.Client, bad: dict[str, bytes], digit: Path
) -> None:
    alone = client.classify(digit).results[0].predictions
    answer = client.classify_many([*bad.values(), digit])
    for case, result in zip(bad, answer.results, strict=False):
        assert isinstance(result.error, EXPECTED[case][0]), case
    good = answer.results[-1].predictions
    assert [each.label for each in good] == [each.label for each in alone]
    assert good[0].score == pytest.approx(alone[0].score, abs=1e-6)


def batches_of_several(shared: Running) -> float:
    """Forward passes so far of more than one image."""
    counts = dict(line.rsplit(" ", 1) for line in get(shared.metrics).splitlines() if "batch_images_" in line)
    one = float(next(value for name, value in counts.items() if 'le="1.0"' in name))
    return float(next(value for name, value in counts.items() if "batch_images_count" in name)) - one


def test_good_images_in_the_same_torchserve_batch_keep_their_answers(
    shared: Running, bad: dict[str, bytes], samples: dict[Path, str]
) -> None:
    """Separate calls at once: TorchServe puts good and bad into one batch."""
    batched_before = batches_of_several(shared)
    bodies = [*bad.items(), *((path.name, path.read_bytes()) for path in samples)] * 4
    answers: dict[int, httpx.Response] = {}
    start = threading.Barrier(len(bodies))

    def send(index: int, body: bytes) -> None:
        with httpx.Client(timeout=30) as http:
            start.wait()
            answers[index] = http.post(f"{shared.http}/v1/classify", content=body)

    threads = [threading.Thread(target=send, args=(index, body)) for index, (_, body) in enumerate(bodies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, (name, _) in enumerate(bodies):
        if name in EXPECTED:
            assert answers[index].status_code == EXPECTED[name][1]
        else:
            assert answers[index].json()["results"][0]["predictions"][0]["label"] == name.split("-")[0]
    assert batches_of_several(shared) > batched_before
    assert shared.ready()


@pytest.mark.parametrize("top_k", [0, 10**6, -1])
def test_top_k_out_of_range_is_refused(client: swinserve.Client, digit: Path, top_k: int) -> None:
    with pytest.raises(swinserve.InvalidRequest, match="top_k") as caught:
        client.classify(digit, top_k=top_k)
    assert caught.value.request_id


@pytest.mark.parametrize(("model", "version"), [("swin_giant", ""), ("swin_digits", "9.9")])
def test_an_unknown_model_or_version_is_not_found(
    client: swinserve.Client, digit: Path, model: str, version: str
) -> None:
    with pytest.raises(swinserve.NotFound, match=r"swin_digits@1\.0") as caught:
        client.classify(digit, model=model, version=version)
    assert caught.value.request_id


def test_a_body_of_30_megabytes_is_too_large_over_rest(shared: Running, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(30_000_000))
    for encoding in ([], ["-H", "transfer-encoding: chunked"]):
        answer = curl("-w", "%{http_code}", "--data-binary", f"@{large}", *encoding, f"{shared.http}/v1/classify")
        assert answer.endswith("413")
        assert "TOO_LARGE" in answer
        assert "request_id" in answer
    # A client that listens only after it has sent everything.
    assert httpx.post(f"{shared.http}/v1/classify", content=large.read_bytes(), timeout=30).status_code == 413
    assert shared.ready()


def test_a_message_of_30_megabytes_exhausts_grpcs_own_limit(shared: Running) -> None:
    with swinserve.Client(shared.grpc) as client, pytest.raises(swinserve.SwinserveError) as caught:
        client.classify(os.urandom(30_000_000))
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert shared.ready()


def test_one_image_over_the_image_limit_is_too_large(client: swinserve.Client) -> None:
    with pytest.raises(swinserve.TooLarge, match="11000000 bytes"):
        client.classify(b"\xff\xd8\xff" + os.urandom(10_999_997))


def test_invalid_base64_and_invalid_json_are_refused(shared: Running) -> None:
    for body, words in (('{"images": [{"content": "###"}]}', "base64"), ("{", "JSON"), ('{"image": 1}', "images")):
        answer = httpx.post(
            f"{shared.http}/v1/classify", content=body, headers={"content-type": "application/json"}, timeout=10
        )
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


def test_a_message_with_no_image_is_refused(shared: Running) -> None:
    import grpc

    client = ReflectedClient(shared.grpc)
    with pytest.raises(grpc.RpcError) as caught:
        client.call("swinserve.v1.Classifier/Classify", {"model": "swin_digits"})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "image" in caught.value.details()
    assert dict(caught.value.trailing_metadata())["x-request-id"] in caught.value.details()
    client.close()
