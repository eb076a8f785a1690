"""What a caller asks of each image, over either protocol -> what one model's worker is asked for, or a refusal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from swin_gateway.archive import Manifest
from swin_gateway.errors import InvalidRequest

DEFAULT_TOP_K = 5
MAX_TOP_K = 1000
FLOAT_BYTES = 4  # float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One call's options; the defaults are the service's."""

    top_k: int = DEFAULT_TOP_K
    """0: no predictions."""
    min_score: float = 0.0
    embedding: bool = False
    class_activation_map: bool = False

    def for_model(self, model: Manifest) -> Options:
        """What `model`'s worker is asked for; of a model without classes that is its embedding, asked for or not.

        Raises:
            InvalidRequest: an option is out of range, or all together ask for nothing or for what `model` cannot give.
        """
        self._check_ranges()
        self._check_ability(model)
        if not model.num_classes:
            return Options(top_k=0, embedding=True)
        if self.class_activation_map and not self.top_k:
            raise InvalidRequest("class_activation_map with top_k 0 asks for maps of no class; ask for a top_k from 1")
        if not self.embedding and not self.top_k:
            raise InvalidRequest("top_k 0 without embedding asks for nothing; ask for the embedding or a top_k from 1")
        return self

    def answer_bytes(self, model: Manifest) -> int:
        """The most bytes of embedding and maps that can answer one image."""
        return FLOAT_BYTES * self.answer_numbers(model)

    def answer_numbers(self, model: Manifest) -> int:
        maps = min(self.top_k, model.num_classes) if self.class_activation_map else 0
        return maps * math.prod(model.activation_map or (0,)) + (model.embedding_size if self.embedding else 0)

    def _check_ranges(self) -> None:
        if not 0 <= self.top_k <= MAX_TOP_K:
            raise InvalidRequest(f"top_k is {self.top_k}, must be from 0 to {MAX_TOP_K}")
        if not 0.0 <= self.min_score <= 1.0:
            raise InvalidRequest(f"min_score is {self.min_score:g}, must be from 0 to 1")

    def _check_ability(self, model: Manifest) -> None:
        if self.embedding and not model.embedding_size:
            raise InvalidRequest(f"{model.identity} has no embedding to give: nothing is pooled before its head")
        if self.class_activation_map and model.activation_map is None:
            why = "its class logits are not the mean of one" if model.num_classes else "it has no classes"
            raise InvalidRequest(f"{model.identity} has no class activation map to give: {why}")


EVERYTHING = Options(top_k=MAX_TOP_K, embedding=True, class_activation_map=True)
