"""Names of files -> calls, several under way at a time -> what became of each file, in order."""

from collections.abc import Iterator, Sequence

from swinserve import bulk
from swinserve.errors import NotFound, PermissionDenied, SwinserveError, Unauthenticated, Unavailable
from swinserve.image_files import ImageFile
from swinserve.results import Classification

from . import inputs
from .outcome import FileOutcome, Keeper

OF_ALL = (Unauthenticated, PermissionDenied, NotFound, Unavailable)
"""No service, no such model or no admittance: whatever the file is."""


def outcomes(
    names: Sequence[str], ask: bulk.Ask, keepers: Sequence[Keeper] = (), in_flight: int = 32
) -> Iterator[FileOutcome]:
    """Each one after the keepers have seen it. Raises a SwinserveError that every other file would meet too."""
    for file, answer in bulk.answered(inputs.read(names), ask, in_flight=in_flight):
        outcome = _outcome(file, answer)
        if outcome.error is not None and _ends_all(outcome.error):
            raise outcome.error
        for keeper in keepers:
            keeper.keep(file, outcome)
        yield outcome


def _ends_all(error: SwinserveError) -> bool:
    # A lost worker is replaced within seconds.
    return isinstance(error, OF_ALL) and error.reason != "WORKER_LOST"


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
