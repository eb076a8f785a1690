"""The query of a REST classification -> `Options`, and the form in which the numbers of its answer are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from swin_gateway.archive import Manifest
from swin_gateway.errors import TooLarge
from swin_gateway.options import DEFAULT_TOP_K, MAX_TOP_K, Options

Form = Literal["false", "true", "base64"]

MAX_LISTED = 2**18
"""Numbers in the lists of one answer. So many take the JSON encoder 0.1 to 0.2 s, in which nothing else is answered."""


class RestOptions(BaseModel):
    """The query parameters."""

    model_config = ConfigDict(frozen=True)

    top_k: int = Field(
        DEFAULT_TOP_K,
        description=f"predictions per image, 0..{MAX_TOP_K}; 0 asks for the embedding alone",
    )
    min_score: float = Field(0.0, description="leave out predictions with a lower score, 0..1")
    embedding: Form = Field(
        "false",
        description="the pooled features before the head: `true` as a list, `base64` as little-endian float32 bytes",
    )
    class_activation_map: Form = Field(
        "false",
        description="how much each place of the image speaks for each predicted class: `true` as a list of rows, "
        "`base64` as little-endian float32 bytes",
    )

    @property
    def options(self) -> Options:
        return Options(
            top_k=self.top_k,
            min_score=self.min_score,
            embedding=self.embedding != "false",
            class_activation_map=self.class_activation_map != "false",
        )

    def check_listed(self, model: Manifest, images: int) -> None:
        """Raises TooLarge when the answer would have too many numbers as lists, InvalidRequest as `Options` does."""
        asked = self.options.for_model(model)
        listed = replace(
            asked,
            embedding=asked.embedding and self.embedding != "base64",
            class_activation_map=asked.class_activation_map and self.class_activation_map != "base64",
        )
        if (numbers := images * listed.answer_numbers(model)) > MAX_LISTED:
            raise TooLarge(f"the answer could list {numbers} numbers, more than {MAX_LISTED}; ask for base64 instead")
