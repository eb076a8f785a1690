"""Answers without a class -> why, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from .outcome import FileOutcome


def without_class(how: Mapping[str, Any], outcomes: Sequence[FileOutcome]) -> str:
    """Why good answers hold no class; "" where that cannot be known."""
    if how["top_k"] == 0:
        return "no class was asked for"
    # A model without classes never gives one, and always its embedding.
    if any(outcome.predictions or outcome.embedding is None for outcome in outcomes):
        return "no score reaches the minimum" if how["min_score"] else ""
    return "" if how["embedding"] and how["min_score"] else "the model has no classes"
