"""A call as both protocols bring it, as it is once accepted, and one image of it as it comes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swin_gateway.errors import InvalidRequest, ServingError
from swin_gateway.held import NOTHING, Held
from swin_gateway.model import ServedModel
from swin_gateway.options import Options
from swin_gateway.quota import UNLIMITED, Quota
from swin_gateway.tracing import NO_TRACE, Trace
from swin_proto import CONTRACT_VERSION
from swin_proto.v1.classifier_pb2 import ImageResult, Timing
from swin_proto.worker.v1.job_pb2 import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`timeout` is in seconds, None for the service's default."""

    model: str
    version: str
    images: Sequence[bytes]
    options: Options
    timeout: float | None
    request_id: str
    caller: str = ""
    """Who shares the queue fairly with others: a token's name, or an address without the port."""
    quota: Quota = UNLIMITED
    body: Held = NOTHING
    """The bytes that are held for it."""
    trace: Trace = NO_TRACE
    whole: bool = False
    """Whether one image's failure is the call's; in a call with one image it always is."""

    def refuse_failed(self, results: Iterable[object]) -> None:
        """results: of its images. Raises the first error among them where it is the call's."""
        if not self.whole and len(self.images) > 1:
            return
        for number, result in enumerate(results):
            if isinstance(result, ServingError):
                # A deadline or a lost worker is no image's fault.
                own = len(self.images) > 1 and isinstance(result, InvalidRequest)
                raise result.of_image(number) if own else result


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a call's images have in common once its options are known to fit its model."""

    model: ServedModel
    options: Options
    deadline: float
    """Monotonic seconds."""
    request_id: str
    body: Held = NOTHING
    trace: Trace = NO_TRACE

    def job(self) -> Job:
        """For each of the images; it holds none."""
        return Job(
            contract_version=CONTRACT_VERSION,
            request_id=self.request_id,
            expires_at=self.deadline,
            top_k=self.options.top_k,
            min_score=self.options.min_score,
            embedding=self.options.embedding,
            class_activation_map=self.options.class_activation_map,
        )


@dataclass(frozen=True, slots=True)
class Classified:
    """One image's way through the service."""

    result: ImageResult | ServingError
    timing: Timing
