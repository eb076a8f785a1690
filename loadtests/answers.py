"""A payload and the answer that it got -> right, shed or wrong; under load as much as at rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swinserve.errors import error_class

if TYPE_CHECKING:
    from payloads import Payload

OK = (200, "OK")
OVERLOAD = (429, "RESOURCE_EXHAUSTED")
IMAGE_REASONS = ("INVALID_REQUEST", "TOO_LARGE", "UNSUPPORTED_TYPE", "UNDECODABLE")


@dataclass(frozen=True)
class Answer:
    status: int | str
    """HTTP's number or gRPC's name; what broke the connection where there is none."""
    label: str = ""
    reason: str = ""
    size: int = 0
    """Bytes."""


@dataclass(frozen=True)
class Judgement:
    name: str
    """Under which Locust counts the call: classify, malformed; or either of them shed."""
    shed: bool = False
    wrong: str = ""
    """Why it is an error. The request id is left out, so that errors of one kind are one line."""


def judge(payload: Payload, answer: Answer) -> Judgement:
    """Overload is an answer of its own: refusals are fast, and would flatter the latency of answers."""
    name = "malformed" if payload.reason else "classify"
    if answer.status in OVERLOAD:
        return Judgement(f"{name} shed", shed=True)
    if payload.reason:
        error = error_class(reason=payload.reason)
        right = answer.status in (error.http, error.code) and answer.reason == payload.reason
        wanted = f"{error.http}/{error.code} {payload.reason}"
    else:
        right = answer.status in OK and not answer.reason and payload.label in ("", answer.label)
        wanted = f"the label {payload.label}".removesuffix(" ")
    if right:
        return Judgement(name)
    got = " ".join(dict.fromkeys(filter(None, (str(answer.status), answer.reason, answer.label))))
    if answer.status not in OK and answer.reason not in IMAGE_REASONS:
        return Judgement(name, wrong=got)  # it had nothing to do with the file
    return Judgement(name, wrong=f"{payload.name}: {got} instead of {wanted}")
