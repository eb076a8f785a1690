"""`Call` -> `ClassifyResponse`: the one object behind both protocols.

    find the model → check options → check each image's header → admit all or none → dispatch → collect

An image's failure is a value next to the others' answers; only a call with one image fails with it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from swin_gateway import stages
from swin_gateway.admission import Place, passed
from swin_gateway.call import Accepted, Call, Classified
from swin_gateway.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotReady,
    ServingError,
    TooLarge,
    WorkerLost,
)
from swin_gateway.held import Held
from swin_gateway.model import Models, ServedModel
from swin_gateway.options import Options
from swin_gateway.pending_bytes import PendingBytes
from swin_gateway.result import image_result, misfit, read_result
from swin_gateway.stream_limits import StreamLimits
from swin_gateway.worker import WorkerClient
from swin_proto.v1.classifier_pb2 import ClassifyResponse, ImageResult, Timing
from swin_proto.worker.v1.job_pb2 import Answer, Job

log = structlog.get_logger("classifier")

WAY_HOME_SECONDS = 0.05
"""Before its deadline a call is answered, so that the answer is there by it; of a short one a tenth."""
REPLACED = "the model's worker was lost, and its successor was not ready before the deadline; try again"


class Classifier:
    def __init__(
        self,
        models: Models,
        workers: WorkerClient,
        check_image: Callable[[bytes], None],
        pending: PendingBytes,
        streams: StreamLimits,
        *,
        max_images: int,
        max_image_bytes: int,
        max_response_bytes: int,
        default_timeout: float,
        max_timeout: float,
    ) -> None:
        self.models = models
        self.closing = asyncio.Event()
        """Set when no new work is taken any more; what had begun before is answered."""
        self._workers = workers
        self._check_image = check_image
        self.pending = pending
        """What the adapters hold of requests, from their first byte to their answer."""
        self.streams = streams
        self.max_images = max_images
        self.max_image_bytes = max_image_bytes
        """For who can tell an image's size before there is one; `check_image` holds them to it."""
        self._max_response_bytes = max_response_bytes
        self._default_timeout = default_timeout
        self._max_timeout = max_timeout

    async def classify(self, call: Call) -> ClassifyResponse:
        """One result or error per image, in order.

        Raises:
            ServingError: the call as a whole is refused, or its only image failed.
        """
        accepted = self._accept(call)
        with call.quota.holding(len(call.images)) as held:
            return await self._all(accepted, call, held)

    async def _all(self, accepted: Accepted, call: Call, held: Held) -> ClassifyResponse:
        model = accepted.model
        checked = [self._checked(model, image) for image in call.images]
        good = [image for image, error in zip(call.images, checked, strict=True) if error is None]
        call.refuse_failed(checked)
        places = model.admission.admit(len(good), caller=call.caller, deadline=accepted.deadline)
        try:
            answered = iter(
                await asyncio.gather(
                    *(self._one(accepted, image, place, held) for image, place in zip(good, places, strict=True))
                )
            )
        finally:
            for place in places:
                place.leave()
        images = [Classified(error, Timing()) if error else next(answered) for error in checked]
        call.refuse_failed(image.result for image in images)
        return self._response(model, images)

    async def classify_bulk(self, call: Call) -> tuple[ServedModel, Classified]:
        """One image of a stream: waits for room in the queue instead of being shed.

        Raises:
            ServingError: the image is refused before it reaches the queue.
        """
        accepted = self._accept(call)
        async with call.quota.holding_one(accepted.deadline) as held:
            return accepted.model, await self._one_of_many(accepted, call, held)

    async def _one_of_many(self, accepted: Accepted, call: Call, held: Held) -> Classified:
        model = accepted.model
        (image,) = call.images
        if error := self._checked(model, image):
            raise error
        try:
            place = await model.admission.admit_when_room(caller=call.caller, deadline=accepted.deadline)
        except ServingError as error:
            model.metrics.image(error.outcome)
            raise
        try:
            return await self._one(accepted, image, place, held)
        finally:
            place.leave()

    async def canary(self, model: ServedModel, image: bytes) -> None:
        """A forward pass of our own that proves a worker alive; it passes the queue by.

        Raises:
            ServingError: it failed.
        """
        options = Options(top_k=1).for_model(model.manifest)
        canary = Accepted(model=model, options=options, deadline=0, request_id="canary")  # 0: never expires
        answer = await self._run(model, canary.job(), image)
        if answer.results[0].WhichOneof("outcome") != "top_k":
            log.error("canary failed", model=model.name, error=answer.results[0].error.message)
            raise InternalError

    async def _run(self, model: ServedModel, job: Job, image: bytes) -> Answer:
        """The worker's fitting answer; counts it as a sign of life here, where abandoned ones pass as well."""
        answer = await self._workers.run(model.name, model.version, job, image)
        if why := misfit(answer, job, model.manifest):
            log.error("answer does not fit", why=why, model=model.name, request_id=job.request_id)
            raise InternalError
        if answer.results[0].WhichOneof("outcome") == "top_k":
            model.take(answer)
        return answer

    def _accept(self, call: Call) -> Accepted:
        model = self.models.find(call.model, call.version)
        if not call.images:
            raise InvalidRequest("no image in the request; send at least one")
        if len(call.images) > self.max_images:
            raise TooLarge(f"more than the {self.max_images} images taken in one call; send several calls")
        options = call.options.for_model(model.manifest)
        model.check_answer(options, len(call.images), self._max_response_bytes)
        if not model.workers.loaded:
            for _ in call.images:
                model.metrics.image(NotReady.reason.lower())
            raise NotReady(f"{model.name} is still loading; try again")
        limit = self.time_limit(call.timeout)
        latest = time.monotonic() + limit - min(WAY_HOME_SECONDS, limit / 10)
        return Accepted(
            model=model, options=options, deadline=latest, request_id=call.request_id, body=call.body, trace=call.trace
        )

    def time_limit(self, asked: float | None) -> float:
        """Seconds that a call may take which asks for that many.

        Raises:
            InvalidRequest: it is no number.
            DeadlineExceeded: there is no time left.
        """
        seconds = self._default_timeout if asked is None else asked
        if math.isnan(seconds):
            raise InvalidRequest("the timeout is no number; send seconds")
        if seconds <= 0:
            raise DeadlineExceeded("the deadline passed before the request had arrived")
        return min(seconds, self._max_timeout)

    def _checked(self, model: ServedModel, image: bytes) -> ServingError | None:
        try:
            self._check_image(image)
        except ServingError as error:
            model.metrics.image(error.outcome)
            return error
        return None

    async def _one(self, accepted: Accepted, image: bytes, place: Place, held: Held) -> Classified:
        """One admitted image; its failure is part of the result. held: of the token's limits"""
        model, deadline, job = accepted.model, accepted.deadline, accepted.job()
        entered = time.monotonic()
        dispatched: float | None = None
        left = False  # whether the caller has

        async def dispatch() -> Answer:
            nonlocal dispatched
            dispatched = time.monotonic()
            with held.dispatched(), accepted.body.dispatched(len(image)):
                try:
                    answer = await self._run(model, job, image)
                except WorkerLost:
                    model.admission.forget_rate()
                    if left or time.monotonic() >= deadline:
                        raise  # nobody waits for it any more
                    # To classify twice harms nobody. Not three times: the image itself may be what kills workers.
                    model.metrics.sent_again()
                    answer = await self._run(model, job, image)
            model.metrics.batch(answer)
            return answer

        timing, answer = Timing(), None
        result: ImageResult | ServingError
        try:
            answer = await model.admission.run(place, dispatch, deadline=deadline)
            assert dispatched is not None
            timing = stages.timing_of(answer, entered, dispatched)
            result = read_result(answer.results[0], job, model)
        except DeadlineExceeded as error:
            result = error if model.workers.alive else WorkerLost(REPLACED, retry_after=model.workers.load_seconds)
        except ServingError as error:
            result = error
        except asyncio.CancelledError:
            left = True
            model.metrics.image("deadline_exceeded" if passed(deadline) else "cancelled")
            raise
        finally:
            stages.trace(accepted.trace, answer, entered, dispatched)
        if isinstance(result, ServingError):
            model.metrics.image(result.outcome)
        else:
            model.metrics.answered(stages.seconds(timing))
        return Classified(result, timing)

    def _response(self, model: ServedModel, images: list[Classified]) -> ClassifyResponse:
        slowest = max(images, key=lambda image: sum(stages.seconds(image.timing).values()))
        return ClassifyResponse(
            model=model.name,
            version=model.version,
            backend=model.backend,
            dtype=model.dtype,
            results=[image_result(image.result) for image in images],
            timing=slowest.timing,
        )
