"""Names of files -> calls, several under way at a time -> what became of each file, in order."""

from collections.abc import Iterator, Sequence

from swinserve import bulk
from swinserve.errors import Unavailable
from swinserve.image_files import ImageFile
from swinserve.results import Classification

from . import inputs
from .outcome import FileOutcome, Keeper


def outcomes(
    names: Sequence[str], ask: bulk.Ask, keepers: Sequence[Keeper] = (), in_flight: int = 32
) -> Iterator[FileOutcome]:
    """Each one after the keepers have seen it. Raises Unavailable when going on is useless."""
    for file, answer in bulk.answered(inputs.read(names), ask, in_flight=in_flight):
        outcome = _outcome(file, answer)
        # A lost worker is replaced within seconds; whatever else is unavailable would fail every other file too.
        if isinstance(outcome.error, Unavailable) and outcome.error.reason != "WORKER_LOST":
            raise outcome.error
        for keeper in keepers:
            keeper.keep(file, outcome)
        yield outcome


def _outcome(file: ImageFile[str], answer: Classification) -> FileOutcome:
    (result,) = answer.results
    if result.error is not None:
        return FileOutcome(file.name, error=result.error)
    return FileOutcome(
        file=file.name,
        model=answer.model,
        version=answer.version,
        predictions=result.predictions,
        embedding=result.embedding,
        map_region=result.map_region,
        timing=answer.timing,
        request_id=answer.request_id,
    )
