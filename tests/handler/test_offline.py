"""A model archive in one's own process answers as a worker that has the same archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swin_handler import service
from swin_handler.errors import BadArchive, UnsupportedType
from swin_handler.offline import OfflineModel
from swin_handler.result import Predictions
from swin_proto.worker.v1 import job_pb2
from tests.handler import pictures
from tests.handler.conftest import LABELS
from tests.handler.test_service import answers, job_row
from tests.handler.torchserve_context import TorchServeContext

IMAGES = (pictures.jpeg(), pictures.jpeg(200, 100), b"hello")


@pytest.fixture(scope="module")
def offline(tiny_archive: Path) -> OfflineModel:
    return OfflineModel(tiny_archive, threads=2)


def test_it_answers_as_a_worker_does(
    offline: OfflineModel, unpacked: Path, settings: dict[str, Any], context: TorchServeContext
) -> None:
    worker = service.Service.load(unpacked, settings, gpu=None)
    [answer] = answers(worker, [job_row(*IMAGES)], context)
    *found, refused = offline.classify(IMAGES, top_k=3)
    for ours, theirs in zip(found, answer.results, strict=False):
        assert isinstance(ours, Predictions)
        assert (ours.indices, ours.scores) == (tuple(theirs.top_k.indices), tuple(theirs.top_k.scores))
    assert isinstance(refused, UnsupportedType)
    assert answer.results[2].error.kind == job_pb2.Error.UNSUPPORTED_TYPE
    assert (offline.labels, offline.backend, offline.dtype) == (tuple(LABELS), answer.backend, answer.dtype)


def test_more_images_than_the_largest_batch_bucket_come_back_in_order(offline: OfflineModel) -> None:
    wide, tall = pictures.jpeg(200, 100), pictures.jpeg(100, 200)
    one_by_one = [offline.classify([image], top_k=1)[0] for image in (wide, tall)]
    together = offline.classify([wide, tall] * 5, top_k=1)
    assert [result.indices for result in together] == [result.indices for result in one_by_one] * 5


def test_an_embedding_comes_when_it_is_asked_for(offline: OfflineModel) -> None:
    (plain,), (asked,) = offline.classify(IMAGES[:1]), offline.classify(IMAGES[:1], top_k=0, embedding=True)
    assert plain.embedding is None
    assert (asked.indices, tuple(asked.embedding.shape)) == ((), (48,))


@pytest.mark.parametrize("content", [b"no archive", None], ids=["another file", "no file"])
def test_what_is_no_archive_is_said_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.mar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadArchive, match=r"model\.mar is no complete model archive"):
        OfflineModel(path)
