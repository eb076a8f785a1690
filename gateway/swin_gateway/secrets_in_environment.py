"""An environment -> what of it TorchServe, and with it the code of any model, may see."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Ours and those of other programs, such as HF_TOKEN or AWS_SECRET_ACCESS_KEY; nothing below the gateway needs any.
SECRET = re.compile(
    r"(TOKENS?|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?|(API|ACCESS|PRIVATE)_?KEY|HEADERS)(_|$)", re.IGNORECASE
)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """By the names of the variables."""
    return {name: value for name, value in environment.items() if not SECRET.search(name)}
