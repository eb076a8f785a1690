"""The caller's x-request-id, or a new one: short, printable, safe in logs and headers."""

from __future__ import annotations

import re
import uuid

REQUEST_ID = "x-request-id"
ACCEPTED = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


def request_id_from(asked: str | bytes | None) -> str:
    """`asked` if it can be one, else 32 random hex digits."""
    text = asked.decode("latin-1") if isinstance(asked, bytes) else asked
    return text if text and ACCEPTED.fullmatch(text) else uuid.uuid4().hex
