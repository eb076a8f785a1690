from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from swin_handler import job, raw, service
from swin_handler.config import CONTRACT_VERSION
from swin_handler.decode import Decoder
from swin_proto.worker.v1 import job_pb2
from tests.handler import pictures
from tests.handler.conftest import LABELS, unpack
from tests.handler.torchserve_context import REST, TorchServeContext

GOOD, OTHER = pictures.jpeg(), pictures.jpeg(200, 100)
BAD = {
    "empty": b"",
    "text": b"hello",
    "truncated": pictures.jpeg()[:-400],
    "large": pictures.png_header(20_000, 20_000),
}


@pytest.fixture(scope="module")
def loaded(unpacked: Path, settings: dict[str, Any]) -> service.Service:
    # One bucket, so that a batch of any size runs the very same kernels.
    settings = {**settings, "handler": {**settings["handler"], "batch_buckets": [8]}}
    return service.Service.load(unpacked, settings, gpu=None)


def job_row(*images: bytes, version: int = CONTRACT_VERSION, **options: Any) -> dict[str, bytes]:
    sent = job_pb2.Job(contract_version=version, images=images, **{"top_k": 3, **options})
    return {"job": bytearray(sent.SerializeToString())}


def answers(
    loaded: service.Service, rows: Sequence[dict[str, bytes]], context: TorchServeContext
) -> list[job_pb2.Answer]:
    return [job_pb2.Answer.FromString(answer) for answer in loaded.handle(rows, context)]


def results(answer: job_pb2.Answer) -> list[bytes]:
    return [result.SerializeToString() for result in answer.results]


def test_a_job_of_several_images_gets_one_result_each(loaded: service.Service, context: TorchServeContext) -> None:
    before = time.monotonic()
    [answer] = answers(loaded, [job_row(GOOD, b"hello", OTHER)], context)
    assert [result.WhichOneof("outcome") for result in answer.results] == ["top_k", "error", "top_k"]
    assert len(answer.results[0].top_k.indices) == 3
    assert answer.results[1].error.kind == job_pb2.Error.UNSUPPORTED_TYPE
    assert before <= answer.entered_at <= time.monotonic()
    assert answer.decode_seconds > 0
    assert answer.inference_seconds > 0
    assert (answer.batch_size, answer.padded_size) == (2, 8)
    assert (answer.contract_version, answer.backend, answer.dtype) == (
        CONTRACT_VERSION,
        "eager",
        "float32",
    )
    assert answer.worker_pid > 0


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_image_spares_its_batch(loaded: service.Service, context: TorchServeContext, bad: bytes) -> None:
    [solo] = answers(loaded, [job_row(GOOD)], context)
    [other] = answers(loaded, [job_row(OTHER)], context)
    first, middle, last = answers(loaded, [job_row(GOOD), job_row(bad), job_row(OTHER)], context)
    assert results(first) == results(solo)
    assert results(last) == results(other)
    assert middle.results[0].WhichOneof("outcome") == "error"
    assert middle.results[0].error.message


def test_a_bug_in_decoding_spares_its_batch(
    loaded: service.Service, context: TorchServeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    [solo] = answers(loaded, [job_row(GOOD)], context)
    honest = Decoder.__call__

    def buggy(self: Decoder, data: bytes, until: float | None) -> Any:
        if data == OTHER:
            raise AssertionError("a bug")
        return honest(self, data, until)

    monkeypatch.setattr(Decoder, "__call__", buggy)
    [first, second] = answers(loaded, [job_row(OTHER), job_row(GOOD)], context)
    assert first.results[0].error.kind == job_pb2.Error.INTERNAL
    assert "a bug" not in first.results[0].error.message
    assert results(second) == results(solo)


def test_the_settings_choose_the_decode(unpacked: Path, settings: dict[str, Any], context: TorchServeContext) -> None:
    large = pictures.encoded(pictures.noise(700, 500), "JPEG")  # the model takes 64×64
    scores = {}
    for scaled in (True, False):
        handler = {**settings["handler"], "batch_buckets": [1], "scaled_decode": scaled}
        served = service.Service.load(unpacked, {**settings, "handler": handler}, gpu=None)
        [answer] = answers(served, [job_row(large)], context)
        [scores[scaled]] = results(answer)
    assert scores[True] != scores[False]


def test_an_expired_job_says_so(loaded: service.Service, context: TorchServeContext) -> None:
    [answer] = answers(loaded, [job_row(GOOD, GOOD, expires_at=time.monotonic() - 1)], context)
    assert [result.error.kind for result in answer.results] == [job_pb2.Error.EXPIRED] * 2
    assert answer.batch_size == 0


@pytest.mark.parametrize("images", [0, 1, 3])
def test_another_contract_version_is_refused_naming_both(
    loaded: service.Service, context: TorchServeContext, images: int
) -> None:
    [answer] = answers(loaded, [job_row(*[GOOD] * images, version=7)], context)
    assert [result.error.kind for result in answer.results] == [job_pb2.Error.BAD_JOB] * max(1, images)
    assert f"contract version 7, this worker {CONTRACT_VERSION}" in answer.results[0].error.message
    assert answer.contract_version == CONTRACT_VERSION


def test_bytes_that_are_no_job_are_refused_alone(loaded: service.Service, context: TorchServeContext) -> None:
    bad, good = answers(loaded, [{"job": b"\xff\xff\xff"}, job_row(GOOD)], context)
    assert bad.results[0].error.kind == job_pb2.Error.BAD_JOB
    assert good.results[0].WhichOneof("outcome") == "top_k"


def test_a_job_is_known_over_rest_by_its_content_type(
    loaded: service.Service, unpacked: Path, settings: dict[str, Any]
) -> None:
    body = {"body": job_row(GOOD)["job"]}
    context = TorchServeContext(unpacked, settings, REST | {"content-type": job.CONTENT_TYPE})
    [answer] = answers(loaded, [body], context)
    assert answer.results[0].WhichOneof("outcome") == "top_k"
    context = TorchServeContext(unpacked, settings, REST | {"content-type": "application/octet-stream"})
    assert json.loads(loaded.handle([body], context)[0])["type"] == "UNSUPPORTED_TYPE"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[job_pb2.SharedImage]:
    """GOOD, where this process as the gateway keeps it; something else follows."""
    descriptor = os.memfd_create("image")
    os.write(descriptor, GOOD + b"of an earlier, longer image")
    monkeypatch.setenv(job.GATEWAY_PID, str(os.getpid()))
    yield job_pb2.SharedImage(descriptor=descriptor, size=len(GOOD))
    os.close(descriptor)


def test_shared_images_are_read_where_the_gateway_keeps_them(
    loaded: service.Service, context: TorchServeContext, shared: job_pb2.SharedImage
) -> None:
    [sent] = answers(loaded, [job_row(OTHER, GOOD)], context)
    [read] = answers(loaded, [job_row(OTHER, shared_images=[shared])], context)
    assert results(read) == results(sent)


@pytest.mark.parametrize("trouble", ["no such descriptor", "cut short", "no gateway"])
def test_shared_images_that_cannot_be_read_are_refused_alone(
    loaded: service.Service,
    context: TorchServeContext,
    shared: job_pb2.SharedImage,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    if trouble == "no such descriptor":
        shared.descriptor = 999_999
    elif trouble == "cut short":
        shared.size += 1000
    else:
        monkeypatch.delenv(job.GATEWAY_PID)
    bad, good = answers(loaded, [job_row(shared_images=[shared] * 2), job_row(GOOD)], context)
    assert [result.error.kind for result in bad.results] == [job_pb2.Error.UNREADABLE] * 2
    assert "where the gateway keeps it" in bad.results[0].error.message
    assert good.results[0].WhichOneof("outcome") == "top_k"


def test_the_raw_path_answers_in_torchserves_shape(
    loaded: service.Service, unpacked: Path, settings: dict[str, Any]
) -> None:
    context = TorchServeContext(unpacked, settings, REST)
    [from_job] = answers(loaded, [job_row(GOOD, top_k=5)], context)
    encoded = loaded.handle([{"body": bytearray(GOOD)}, {"data": bytearray(GOOD)}], context)
    assert encoded[0] == encoded[1]
    answer = json.loads(encoded[0])
    assert set(answer) == {"cat", "crane (1)", "dog", "crane (3)", "owl"}  # equal labels do not collapse
    top = from_job.results[0].top_k
    assert list(answer) == [raw.unique(LABELS)[index] for index in top.indices]
    assert list(answer.values()) == list(top.scores)
    assert context.statuses == {}
    assert context.headers[0, "content-type"] == "application/json"


@pytest.mark.parametrize(
    ("row", "code", "kind"),
    [
        ({"body": b""}, 422, "UNDECODABLE"),
        ({"body": b"hello"}, 415, "UNSUPPORTED_TYPE"),
        ({"body": "text that TorchServe decoded"}, 415, "UNSUPPORTED_TYPE"),
        ({"body": {"instances": []}}, 400, "BAD_JOB"),
        ({"image": GOOD}, 400, "BAD_JOB"),
        ({}, 400, "BAD_JOB"),
        ({"body": BAD["truncated"]}, 422, "UNDECODABLE"),
        ({"body": BAD["large"]}, 413, "TOO_LARGE"),
        ({"body": GOOD, "top_k": b"0"}, 400, "BAD_JOB"),
        ({"body": GOOD, "top_k": "many"}, 400, "BAD_JOB"),
        ({"body": GOOD, "min_score": b"1.5"}, 400, "BAD_JOB"),
        ({"body": GOOD, "min_score": "nan"}, 400, "BAD_JOB"),
        ({"body": GOOD, "min_score": "x"}, 400, "BAD_JOB"),
    ],
)
def test_a_bad_raw_request_gets_its_own_status(
    loaded: service.Service, unpacked: Path, settings: dict[str, Any], row: dict[str, Any], code: int, kind: str
) -> None:
    context = TorchServeContext(unpacked, settings, REST)
    good, bad = loaded.handle([{"body": GOOD}, row], context)
    assert len(json.loads(good)) == 5
    error = json.loads(bad)
    assert (error["code"], error["type"]) == (code, kind)
    assert error["message"]
    assert context.statuses[1][0] == code
    assert context.statuses[1][1].isascii()
    assert 0 not in context.statuses


def test_form_fields_choose_top_k_and_min_score(loaded: service.Service, context: TorchServeContext) -> None:
    one, none = loaded.handle([{"data": GOOD, "top_k": b"1"}, {"data": GOOD, "min_score": b"1"}], context)
    assert len(json.loads(one)) == 1
    assert json.loads(none) == {}


def test_base64_text_is_taken_as_the_stock_handler_does(loaded: service.Service, context: TorchServeContext) -> None:
    import base64

    text, plain = loaded.handle([{"body": base64.b64encode(GOOD).decode()}, {"body": GOOD}], context)
    assert text == plain


def test_only_grpc_rows_end_their_stream(loaded: service.Service, unpacked: Path, settings: dict[str, Any]) -> None:
    grpc, rest = TorchServeContext(unpacked, settings), TorchServeContext(unpacked, settings, REST)
    loaded.handle([job_row(GOOD), {"body": b"bad"}], grpc)
    loaded.handle([{"body": GOOD}], rest)
    assert [grpc.headers[index, "ts_stream_next"] for index in (0, 1)] == ["false", "false"]
    assert (0, "ts_stream_next") not in rest.headers


def test_loading_says_ready_only_after_every_bucket_has_run(
    context: TorchServeContext, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        service.handle(None, context)
    assert "swinserve worker ready: tiny 1.0, eager on cpu in float32, batch buckets 1,2,4" in caplog.text
    assert len(service.handle([job_row(GOOD)], context)) == 1


def damage(folder: Path, file: str) -> None:
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: damage(folder, "model.safetensors"), "has SHA-256"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda folder: (folder / "swinserve.json").unlink(), "swinserve.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "labels.json").write_text('["one"]'), "labels.json has 1 labels, the model 5"),
        (
            lambda folder: (folder / "config.json").write_text(
                (folder / "config.json").read_text().replace('"embed_dim": 24', '"embed_dim": 48')
            ),
            "model.safetensors does not fit swin_tiny_patch4_window7_224",
        ),
    ],
    ids=["damaged weights", "no weights", "no manifest", "broken config", "wrong labels", "another architecture"],
)
def test_an_archive_that_does_not_load_says_why_in_one_line(
    tiny_archive: Path, tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str], break_it: Any,
    reason: str,
) -> None:  # fmt: skip
    break_it(unpack(tiny_archive, tmp_path))
    with pytest.raises(RuntimeError):
        service.handle(None, TorchServeContext(tmp_path, settings))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SWINSERVE_FATAL ")]
    assert len(lines) == 1
    assert reason in lines[0]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"handler": {"bucket": 1}}, "unknown bucket"),
        ({"deviceType": "gpu"}, "no CUDA device is found"),
    ],
)
def test_settings_that_cannot_be_met_are_fatal(
    unpacked: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RuntimeError, match=reason):
        service.handle(None, TorchServeContext(unpacked, settings))
    assert capsys.readouterr().out.count("SWINSERVE_FATAL ") == 1


def test_what_the_gateway_was_told_wins_over_the_archive_on_the_raw_path_too(
    unpacked: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_service", None)
    monkeypatch.setenv(service.HANDLER, '{"formats": ["GIF"], "max_frames": 2}')
    context = TorchServeContext(unpacked, settings, REST)
    assert service.handle(None, context) == []
    animated = {"save_all": True, "append_images": [pictures.noise(), pictures.gradient()]}
    bodies = [pictures.encoded(pictures.gradient(), kind) for kind in ("GIF", "PNG")]
    bodies.append(pictures.encoded(pictures.gradient(), "GIF", **animated))
    service.handle([{"body": body} for body in bodies], context)
    assert [context.statuses.get(place, (200, ""))[0] for place in range(3)] == [200, 415, 413]


def test_by_default_a_worker_takes_what_the_gateway_takes_by_default(
    loaded: service.Service, context: TorchServeContext
) -> None:
    [answer] = answers(loaded, [job_row(pictures.encoded(pictures.gradient(), "GIF"))], context)
    assert answer.results[0].error.kind == job_pb2.Error.UNSUPPORTED_TYPE
    assert "JPEG, PNG, WEBP" in answer.results[0].error.message
