"""The body of a peer's answer -> {label: score}, and the best label."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

Reader = Callable[[bytes], Mapping[str, float]]


def label_scores(body: bytes) -> Mapping[str, float]:
    """Of a JSON object of that very form. Raises ValueError for any other."""
    return _checked(json.loads(body), body)


def only_label_scores(body: bytes) -> Mapping[str, float]:
    """Of a list of one such object. Raises ValueError for anything else."""
    answers = json.loads(body)
    return _checked(answers[0] if isinstance(answers, list) and len(answers) == 1 else None, body)


def _checked(answer: object, body: bytes) -> Mapping[str, float]:
    if not isinstance(answer, dict) or not answer or not all(isinstance(score, float) for score in answer.values()):
        raise ValueError(f"no object of labels and scores: {body[:200]!r}")
    return answer


def best(scores: Mapping[str, float]) -> str:
    return max(scores, key=lambda label: scores[label])


def triton_scores(body: bytes) -> Mapping[str, float]:
    """Of Triton's JSON with the outputs `label` and `score`. Raises ValueError or KeyError for anything else."""
    outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    return dict(zip(outputs["label"], outputs["score"], strict=True))
