"""The Open Inference Protocol and TorchServe's paths as their users call them: an unmodified tritonclient, and curl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swin_proto.oip.v2 import inference_pb2
from tests.e2e.running import Running, curl

TRITON = Path(__file__).resolve().parents[2] / ".venv-triton" / "bin" / "python"
FIELDS = """
import json, sys
from tritonclient.grpc import service_pb2
def fields(kind):
    return {each.name: [each.number, each.type, each.is_repeated] for each in kind.fields} | {
        inner.name: fields(inner) for inner in kind.nested_types}
kinds = service_pb2.DESCRIPTOR.message_types_by_name
print(json.dumps({name: fields(kinds[name]) for name in json.loads(sys.argv[1])}))
"""


def test_an_unmodified_tritonclient_makes_every_call_over_both_protocols(shared: Running, digit: Path) -> None:
    hosts = [url.partition("//")[2] for url in (shared.http, shared.grpc)]
    script = Path(__file__).with_name("triton_client.py")
    command = [TRITON, script, *hosts, "swin_digits", digit, digit.name.split("-")[0]]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr


def test_our_definition_is_a_part_of_tritons() -> None:
    """Every field of every message that we define has the same number and type there, and there are no others."""
    ours = {name: fields(kind) for name, kind in inference_pb2.DESCRIPTOR.message_types_by_name.items()}
    command = [TRITON, "-c", FIELDS, json.dumps(list(ours))]
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) == ours


def fields(kind: Any) -> dict[str, Any]:
    """Name -> number, type, whether there are many; of nested messages the same."""
    own = {each.name: [each.number, each.type, each.is_repeated] for each in kind.fields}
    return own | {inner.name: fields(inner) for inner in kind.nested_types}


@pytest.mark.parametrize(("how", "what"), [("-T", "{}"), ("-F", "data=@{}")])
def test_torchserves_users_get_what_torchserve_itself_answers(
    shared: Running, digit: Path, how: str, what: str
) -> None:
    body = [how, what.format(digit)]
    ours = json.loads(curl(*body, f"{shared.http}/predictions/swin_digits"))
    theirs = json.loads(curl(*body, *shared.torchserve("/predictions/swin_digits")))
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(theirs, abs=0.01)
    assert next(iter(ours)) == digit.name.split("-")[0]
    assert json.loads(curl(f"{shared.http}/ping")) == {"status": "Healthy"}


@pytest.mark.parametrize("path", ["/predictions/nothing", "/predictions/swin_digits/9.9"])
def test_what_is_not_served_is_refused_in_torchserves_words(shared: Running, digit: Path, path: str) -> None:
    ours = json.loads(curl("-T", digit, f"{shared.http}{path}"))
    theirs = json.loads(curl("-T", digit, *shared.torchserve(path)))
    assert (ours["code"], ours["type"]) == (theirs["code"], theirs["type"])
