from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from swin_handler.tuning import Machine, Record, Timing

MACHINE = Machine(device="cpu", hardware="avx512f", torch="2.14", threads=2)
RECORD = Record(
    machine=MACHINE,
    dtype="bfloat16",
    tolerance=0.01,
    choice={1: "native", 8: "inductor"},
    timings=(Timing("native", 1, 0.01, 0.011, 0.004),),
    refused={"openvino": "it is not installed"},
    files={"native/code": "12ab"},
)


def test_a_record_survives_json() -> None:
    assert Record.parse(json.loads(json.dumps(RECORD.as_json()))) == RECORD


@pytest.mark.parametrize(
    "changes",
    [{"more": 1}, {"machine": {"device": "cpu"}}, {"choice": {"one": "native"}}, {"timings": [{"backend": "native"}]}],
)
def test_a_malformed_record_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Record.parse({**RECORD.as_json(), **changes})


def test_a_machine_tells_what_differs() -> None:
    assert MACHINE.misfit(MACHINE) == ""
    assert MACHINE.misfit(replace(MACHINE, threads=16)) == "threads 2, here 16"
