"""What became of a file <-> how an output file tells it: JSON lines or CSV, and what is left after a cut."""

import csv
import io
import json
from collections.abc import Generator, Iterable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from .outcome import FileOutcome

COLUMNS = ("file", "rank", "of", "label", "index", "score", "model", "version", "request_id", "reason", "message")


class Foreign(Exception):
    """Something in the file is not of ours; the message says where."""


class Record(NamedTuple):
    """One file's, as the output holds it; `good` if that file need not be classified again."""

    file: str
    model: str
    version: str
    good: bool
    raw: bytes


class Records(Protocol):
    """One format."""

    head: bytes

    def written(self, outcome: FileOutcome) -> bytes: ...

    def read(self, file: BinaryIO) -> Generator[Record, None, None]:
        """Every whole record; a torn one is passed over, if it is the last. Raises Foreign."""


class JsonLines:
    """An object a file, as `--json` prints it."""

    head = b""

    def written(self, outcome: FileOutcome) -> bytes:
        return outcome.json().encode() + b"\n"

    def read(self, file: BinaryIO) -> Generator[Record, None, None]:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                told = json.loads(line)
                names = (told["file"], told.get("model", ""), told.get("version", ""))
                if not all(isinstance(name, str) for name in names):
                    raise TypeError(names)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Foreign(f"line {number} is not of `swinserve classify`") from error
            yield Record(*names, good="error" not in told, raw=line)


class Csv:
    """A row a prediction, best first: `rank` 1 … `of`; a row with `of` 0 for a file without any, `reason` if it failed.

    Embeddings and maps are left out.
    """

    def __init__(self) -> None:
        self.head = _rows([COLUMNS])

    def written(self, outcome: FileOutcome) -> bytes:
        error, of = outcome.error, len(outcome.predictions)
        request_id = error.request_id if error else outcome.request_id
        about = (outcome.model, outcome.version, request_id)
        problem = (error.reason or error.code, error.message) if error else ("", "")
        rows = [
            (outcome.file, rank, of, best.label, best.index, best.score, *about, *problem)
            for rank, best in enumerate(outcome.predictions, 1)
        ]
        return _rows(rows or [(outcome.file, 0, 0, "", "", "", *about, *problem)])

    def read(self, file: BinaryIO) -> Generator[Record, None, None]:
        # Rows end with a line feed; a carriage return alone is of a name or a label.
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="\n")
        try:
            rows = csv.reader(_whole(text))
            if next(rows, list(COLUMNS)) != list(COLUMNS):
                raise Foreign("its columns are not those of `swinserve classify`")
            yield from self._groups(rows)
        except csv.Error as error:
            raise Foreign(f"it is no CSV ({error})") from error
        finally:
            text.detach()  # the file is its opener's to close

    def _groups(self, rows: Iterator[list[str]]) -> Iterator[Record]:
        group: list[list[str]] = []
        for row in rows:
            group.append(row)
            if len(row) != len(COLUMNS) or row[1] not in (str(len(group)), "0"):
                if next(rows, None) is not None:
                    raise Foreign(f"the row of {''.join(row[:1])!r} is not of `swinserve classify`")
                return  # cut off within a cell that holds a line's end
            if row[1] == row[2]:
                yield Record(row[0], row[6], row[7], good=not row[9], raw=_rows(group))
                group = []


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """Without a last line that has no end."""
    return (line for line in lines if line.endswith("\n"))


def _rows(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    # As RFC 4180 has it; and only of what its line's end is made of does csv put a cell in quotes.
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


FORMATS: dict[str, type[JsonLines] | type[Csv]] = {".jsonl": JsonLines, ".ndjson": JsonLines, ".csv": Csv}
"""By the output file's suffix."""
