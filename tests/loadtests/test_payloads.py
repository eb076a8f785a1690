from __future__ import annotations

import io

import pytest
from loadtests.answers import Answer, judge
from loadtests.payloads import SAMPLES, Payload, good, malformed
from PIL import Image

FILES = sorted(SAMPLES.iterdir())
SEVEN = Payload("seven.png", b"", label="seven")
ANY = Payload("seven.png", b"")
HALF = Payload("truncated", b"", reason="UNDECODABLE")


def test_good_files_come_in_every_format_and_size_with_their_label() -> None:
    payloads = good(FILES)
    images = [Image.open(io.BytesIO(payload.content)) for payload in payloads]
    assert {(image.format, image.width) for image in images} >= {
        (kind, size) for kind in ("JPEG", "PNG", "WEBP") for size in (96, 512, 1600)
    }
    assert {payload.label for payload in payloads} == {path.name.split("-")[0] for path in FILES}
    assert all(payload.name.startswith(payload.label) for payload in payloads)


@pytest.mark.parametrize("payload", malformed(FILES), ids=lambda payload: payload.name)
def test_malformed_files_are_no_images(payload: Payload) -> None:
    with pytest.raises(OSError, match=r"cannot identify|truncated"):
        Image.open(io.BytesIO(payload.content)).load()


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (SEVEN, Answer(200, label="seven")),
        (SEVEN, Answer("OK", label="seven")),
        (ANY, Answer(200, label="class 17")),
        (HALF, Answer(422, reason="UNDECODABLE")),
        (HALF, Answer("INVALID_ARGUMENT", reason="UNDECODABLE")),
    ],
)
def test_the_right_answer_is_no_error(payload: Payload, answer: Answer) -> None:
    judgement = judge(payload, answer)
    assert (judgement.wrong, judgement.shed) == ("", False)


@pytest.mark.parametrize(
    ("payload", "answer", "words"),
    [
        (SEVEN, Answer(200, label="one"), "200 one instead of the label seven"),
        (SEVEN, Answer(422, reason="UNDECODABLE"), "422 UNDECODABLE instead of"),
        (HALF, Answer("DEADLINE_EXCEEDED", reason="DEADLINE_EXCEEDED"), "DEADLINE_EXCEEDED"),
        (HALF, Answer(200, label="seven"), "200 seven instead of 422/INVALID_ARGUMENT UNDECODABLE"),
        (HALF, Answer(415, reason="UNSUPPORTED_TYPE"), "415 UNSUPPORTED_TYPE instead of"),
        (HALF, Answer("INVALID_ARGUMENT", reason="UNSUPPORTED_TYPE"), "UNSUPPORTED_TYPE instead of"),
    ],
)
def test_any_other_answer_is_an_error_that_says_what_was_wrong(payload: Payload, answer: Answer, words: str) -> None:
    assert words in judge(payload, answer).wrong


@pytest.mark.parametrize(
    "answer", [Answer("ConnectionRefusedError"), Answer(503, reason="NOT_READY"), Answer("INTERNAL", reason="INTERNAL")]
)
def test_errors_that_any_file_could_get_are_one_line_in_the_report(answer: Answer) -> None:
    assert judge(SEVEN, answer).wrong == judge(HALF, answer).wrong != ""


@pytest.mark.parametrize("status", [429, "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize(("payload", "name"), [(SEVEN, "classify shed"), (HALF, "malformed shed")])
def test_overload_is_no_error_and_counted_apart(status: int | str, payload: Payload, name: str) -> None:
    judgement = judge(payload, Answer(status, reason="OVERLOADED"))
    assert (judgement.name, judgement.shed, judgement.wrong) == (name, True, "")
