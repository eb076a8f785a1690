"""What became of one file."""

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from swinserve.errors import SwinserveError
from swinserve.image_files import ImageFile
from swinserve.results import Prediction, Region, Timing

if TYPE_CHECKING:
    from swinserve.arrays import Array


@dataclass(frozen=True)
class FileOutcome:
    """What was found in one file, or its error; `timing` is that of the call the file went in."""

    file: str
    model: str = ""
    version: str = ""
    predictions: tuple[Prediction, ...] = ()
    embedding: "Array | None" = field(default=None, compare=False)
    map_region: Region | None = None
    timing: Timing = field(default_factory=Timing)
    request_id: str = ""
    error: SwinserveError | None = None

    def json(self) -> str:
        """One line: either what was found, arrays as (nested) lists, or an `error` object."""
        if self.error is None:
            return json.dumps(asdict(self, dict_factory=_present), default=_numbers)
        error = {"code": self.error.code, "reason": self.error.reason, "message": self.error.message}
        return json.dumps({"file": self.file, "error": error, "request_id": self.error.request_id})


class Keeper(Protocol):
    """Keeps in files what a table cannot show."""

    def keep(self, file: ImageFile[str], outcome: FileOutcome) -> None:
        """Takes what it needs of one file, good or not; they come in order. click.ClickException if writing fails."""

    def finish(self) -> list[str]:
        """After the last file, and after what ended the command early: a line for each that could not be kept."""


def _present(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if value is not None}


def _numbers(values: "Array") -> Any:
    return values.tolist()
