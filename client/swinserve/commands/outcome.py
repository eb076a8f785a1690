"""What became of one file."""

import json
from dataclasses import asdict, dataclass, field

from swinserve.errors import SwinserveError
from swinserve.results import Prediction, Timing


@dataclass(frozen=True)
class FileOutcome:
    """One file's predictions, or its error; `timing` is that of the call the file went in."""

    file: str
    model: str = ""
    version: str = ""
    predictions: tuple[Prediction, ...] = ()
    timing: Timing = field(default_factory=Timing)
    request_id: str = ""
    error: SwinserveError | None = None

    def json(self) -> str:
        """One line: either what was found, or an `error` object."""
        if self.error is None:
            return json.dumps({key: value for key, value in asdict(self).items() if key != "error"})
        error = {"code": self.error.code, "reason": self.error.reason, "message": self.error.message}
        return json.dumps({"file": self.file, "error": error, "request_id": self.error.request_id})
