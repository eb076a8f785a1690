"""What torch.compile compiles is counted, by a counter of torch's that no documentation promises."""

from __future__ import annotations

import sys

import pytest
import torch

from swin_handler import job
from swin_handler.batch import Facts
from swin_handler.engine import compiles
from swin_proto.worker.v1 import job_pb2
from tests.handler.fake_engine import FakeEngine


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_each_compilation_counts_once(backend: str) -> None:
    compiled = torch.compile(lambda x: x * 2 + 1, backend=backend, dynamic=False)
    before = compiles.total()
    for size, expected in ((3, 1), (3, 1), (4, 2), (3, 2)):
        compiled(torch.ones(size))
        assert compiles.total() - before == expected


def test_where_the_compiler_was_never_imported_there_is_nothing_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo.utils")
    assert compiles.total() == 0


def test_an_answer_carries_the_count() -> None:
    before = compiles.total()
    torch.compile(lambda x: x - 3, backend="eager")(torch.ones(2))
    facts = Facts(entered_at=1.0, decode_seconds=0.0, inference_seconds=0.0, batch_size=1, padded_size=1)
    answer = job.encode([], facts, FakeEngine(1), compiles=compiles.total() - before)
    assert job_pb2.Answer.FromString(answer).compiles == 1
