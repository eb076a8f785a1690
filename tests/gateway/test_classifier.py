from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from swin_gateway.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    ModelNotFound,
    ModelVersionNotFound,
    NotReady,
    Overloaded,
    ServingError,
    TooLarge,
    Undecodable,
    UnsupportedType,
    WorkerLost,
)
from swin_gateway.options import MAX_TOP_K
from swin_proto import CONTRACT_VERSION
from swin_proto.v1.classifier_pb2 import ClassifyResponse
from swin_proto.worker.v1.job_pb2 import Answer, Error, Job, Result, TopK

from .assembly import MAX_IMAGES, PNG, Gateway, answer_to, call, error_to, gateway, until
from .samples import archive_of

TEXT = b"this is no image"
TRUNCATED = PNG[:20]


def outcomes(response: ClassifyResponse) -> list[str]:
    return [result.error.reason or result.predictions.predictions[0].label for result in response.results]


async def test_an_image_becomes_ranked_labels(served: Gateway) -> None:
    response = await served.classifier.classify(call())
    (result,) = response.results
    assert [(each.label, each.index, each.score) for each in result.predictions.predictions] == [
        ("two", 2, 0.75),
        ("zero", 0, 0.25),
    ]
    assert (response.model, response.version) == ("digits", "1.0")
    assert (response.backend, response.dtype) == ("eager", "float32")


async def test_the_worker_gets_one_image_per_job_with_options_and_expiry(served: Gateway) -> None:
    before = time.monotonic()
    await served.classifier.classify(call(PNG, PNG, top_k=3, min_score=0.5, timeout=2.0))
    assert served.workers.asked == [("digits", "1.0")] * 2
    for job in served.workers.jobs:
        assert list(job.images) == [PNG]
        assert (job.contract_version, job.request_id) == (CONTRACT_VERSION, "r-1")
        assert (job.top_k, job.min_score) == (3, 0.5)
        assert before + 1.9 <= job.expires_at <= time.monotonic() + 1.95  # the answer has a way home


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 5.0), (3.0, 3.0), (1e9, 20.0), (float("inf"), 20.0)])
async def test_a_deadline_has_a_default_and_an_upper_limit(
    served: Gateway, timeout: float | None, seconds: float
) -> None:
    await served.classifier.classify(call(timeout=timeout))
    assert served.workers.jobs[0].expires_at == pytest.approx(time.monotonic() + seconds, abs=0.5)


async def test_top_k_is_five_if_not_set(served: Gateway) -> None:
    await served.classifier.classify(call())
    assert served.workers.jobs[0].top_k == 5


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"images": ()}, InvalidRequest),
        ({"images": (PNG,) * (MAX_IMAGES + 1)}, TooLarge),
        ({"top_k": 0}, InvalidRequest),
        ({"top_k": -1}, InvalidRequest),
        ({"top_k": MAX_TOP_K + 1}, InvalidRequest),
        ({"top_k": 10**6}, InvalidRequest),
        ({"min_score": -0.1}, InvalidRequest),
        ({"min_score": 1.1}, InvalidRequest),
        ({"min_score": float("nan")}, InvalidRequest),
        ({"timeout": 0.0}, DeadlineExceeded),
        ({"timeout": -1.0}, DeadlineExceeded),
        ({"model": "huge"}, ModelNotFound),
        ({"version": "2.0"}, ModelVersionNotFound),
    ],
)
async def test_a_call_that_cannot_be_right_is_refused_before_the_worker(
    served: Gateway, changes: dict[str, Any], error: type[ServingError]
) -> None:
    with pytest.raises(ServingError) as refusal:
        await served.classifier.classify(call(**changes))
    assert type(refusal.value) is error
    assert not served.workers.jobs


@pytest.mark.parametrize("changes", [{"top_k": 1}, {"top_k": MAX_TOP_K}, {"min_score": 0.0}, {"min_score": 1.0}])
async def test_options_at_their_limits_are_taken(served: Gateway, changes: dict[str, Any]) -> None:
    await served.classifier.classify(call(**changes))


async def test_an_unknown_model_is_named_with_the_served_ones(served: Gateway) -> None:
    with pytest.raises(ModelNotFound, match=r"'huge@7' is served here; served: digits@1\.0"):
        await served.classifier.classify(call(model="huge", version="7"))


async def test_a_model_that_still_loads_is_not_ready() -> None:
    served = gateway(loaded=False)
    with pytest.raises(NotReady, match="digits is still loading"):
        await served.classifier.classify(call())


@pytest.mark.parametrize(("image", "error"), [(b"", InvalidRequest), (TEXT, UnsupportedType), (TRUNCATED, Undecodable)])
async def test_a_single_bad_image_fails_the_call_and_is_counted(
    served: Gateway, image: bytes, error: type[ServingError]
) -> None:
    with pytest.raises(ServingError) as refusal:
        await served.classifier.classify(call(image))
    assert type(refusal.value) is error
    assert not served.workers.jobs
    assert served.images(error.reason.lower()) == 1


async def test_of_several_images_each_bad_one_carries_its_own_error_in_its_own_place(served: Gateway) -> None:
    response = await served.classifier.classify(call(TEXT, PNG, TRUNCATED, PNG, b""))
    assert outcomes(response) == ["UNSUPPORTED_TYPE", "two", "UNDECODABLE", "two", "INVALID_REQUEST"]
    assert response.results[0].error.code == 3  # INVALID_ARGUMENT
    assert len(served.workers.jobs) == 2


async def test_several_images_that_are_all_bad_are_an_answer_of_errors(served: Gateway) -> None:
    response = await served.classifier.classify(call(TEXT, TEXT))
    assert outcomes(response) == ["UNSUPPORTED_TYPE"] * 2


async def test_every_bad_image_of_a_call_is_counted(served: Gateway) -> None:
    await served.classifier.classify(call(TEXT, PNG, TRUNCATED))
    assert (served.images("ok"), served.images("unsupported_type"), served.images("undecodable")) == (1, 1, 1)


async def test_what_one_image_meets_in_the_worker_spares_the_others(served: Gateway) -> None:
    calls = iter([Error.UNDECODABLE, None, Error.OUT_OF_MEMORY])

    def reply(job: Job) -> Answer:
        kind = next(calls)
        return answer_to(job) if kind is None else error_to(job, kind)

    served.workers.reply = reply
    response = await served.classifier.classify(call(PNG, PNG, PNG))
    assert outcomes(response) == ["UNDECODABLE", "two", "NOT_READY"]
    assert response.results[2].error.code == 14  # UNAVAILABLE
    assert (served.images("undecodable"), served.images("ok"), served.images("not_ready")) == (1, 1, 1)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Error.EXPIRED, DeadlineExceeded),
        (Error.UNSUPPORTED_TYPE, UnsupportedType),
        (Error.UNDECODABLE, Undecodable),
        (Error.TOO_LARGE, TooLarge),
        (Error.OUT_OF_MEMORY, NotReady),
    ],
)
async def test_what_the_worker_says_is_told_in_our_words(served: Gateway, kind: Any, error: type[ServingError]) -> None:
    served.workers.reply = lambda job: error_to(job, kind, "cut in row 3")
    with pytest.raises(ServingError, match="cut in row 3") as refusal:
        await served.classifier.classify(call())
    assert type(refusal.value) is error


@pytest.mark.parametrize("kind", [Error.INTERNAL, Error.BAD_JOB, Error.KIND_UNSPECIFIED])
async def test_a_bug_in_the_worker_is_logged_and_told_in_a_fixed_text(served: Gateway, kind: Any) -> None:
    served.workers.reply = lambda job: error_to(job, kind, "secret traceback")
    with capture_logs() as logs, pytest.raises(InternalError) as refusal:
        await served.classifier.classify(call())
    assert "secret" not in refusal.value.message
    assert any("secret traceback" in str(entry) and entry["log_level"] == "error" for entry in logs)


@pytest.mark.parametrize(
    "changes",
    [
        {"contract_version": CONTRACT_VERSION + 1},
        {"results": []},
        {"results": [Result(top_k=TopK(indices=[1], scores=[1.0]))] * 2},
    ],
    ids=["another contract", "no result", "two results"],
)
async def test_an_answer_that_does_not_fit_is_internal_and_logged(served: Gateway, changes: dict[str, Any]) -> None:
    served.workers.reply = lambda job: answer_to(job, **changes)
    with capture_logs() as logs, pytest.raises(InternalError):
        await served.classifier.classify(call())
    assert [entry["event"] for entry in logs] == ["answer does not fit"]


async def test_a_result_that_says_nothing_is_internal_and_not_an_empty_list(served: Gateway) -> None:
    served.workers.reply = lambda job: answer_to(job, results=[Result()])
    with pytest.raises(InternalError):
        await served.classifier.classify(call())


async def test_min_score_may_leave_no_prediction_at_all(served: Gateway) -> None:
    served.workers.reply = lambda job: answer_to(job, results=[Result(top_k=TopK())])
    response = await served.classifier.classify(call(min_score=0.9))
    assert response.results[0].WhichOneof("outcome") == "predictions"
    assert not response.results[0].predictions.predictions


async def test_a_job_whose_worker_is_lost_is_sent_once_more(served: Gateway) -> None:
    def lost_once(job: Job) -> Answer:
        if len(served.workers.jobs) == 1:
            raise WorkerLost("try again")
        return answer_to(job)

    served.workers.reply = lost_once
    response = await served.classifier.classify(call())
    assert outcomes(response) == ["two"]
    assert len(served.workers.jobs) == 2
    assert served.value("sent_again_images_total", model="digits", version="1.0") == 1
    assert served.images("ok") == 1


async def test_a_job_that_nobody_waits_for_any_more_is_not_sent_again(served: Gateway) -> None:
    def lose(job: Job) -> Answer:
        raise WorkerLost("try again")

    served.workers.reply, again = lose, {"model": "digits", "version": "1.0"}
    served.workers.gate.clear()
    gone = asyncio.create_task(served.classifier.classify(call()))
    late = asyncio.create_task(served.classifier.classify(call(timeout=0.5)))
    await until(lambda: len(served.workers.jobs) == 2)
    gone.cancel()
    await asyncio.wait([gone, late])
    served.workers.gate.set()
    await until(lambda: not served.model.admission.dispatched)
    assert len(served.workers.jobs) == 2
    assert served.value("sent_again_images_total", **again) == 0


async def test_an_outage_teaches_no_rate(served: Gateway) -> None:
    """Else the calls that waited for a worker's successor would be thrown out as hopeless when it comes."""
    served.workers.gate.clear()
    calls = [asyncio.create_task(served.classifier.classify(call())) for _ in range(8)]  # slots for four
    await until(lambda: len(served.workers.jobs) == 4)
    await asyncio.sleep(3.0)
    held = {job.expires_at for job in served.workers.jobs}

    def lose_the_first(job: Job) -> Answer:
        if job.expires_at in held:
            held.remove(job.expires_at)
            raise WorkerLost("try again")
        return answer_to(job)

    served.workers.reply = lose_the_first
    served.workers.gate.set()
    await asyncio.gather(*calls)
    assert served.model.admission._seconds_per_image < 0.3  # and not the 0.75 s of four images in 3 s


async def test_a_deadline_without_a_living_worker_is_the_services_fault_and_says_when_to_come_back() -> None:
    served = gateway(default_timeout=0.2)
    served.model.workers.answered_at = {2**22 + 1: time.monotonic()}  # no process can have this pid
    served.model.workers.load_seconds = 7.5
    served.workers.gate.clear()
    with pytest.raises(WorkerLost, match="successor") as lost:
        await served.classifier.classify(call())
    assert lost.value.retry_after == 7.5
    assert served.images("worker_lost") == 1


async def test_a_deadline_behind_a_worker_that_hangs_is_a_deadline() -> None:
    served = gateway(default_timeout=0.2)
    served.workers.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await served.classifier.classify(call())


async def test_a_lost_worker_fails_the_call_with_its_own_error(served: Gateway) -> None:
    def lose(job: Job) -> Answer:
        raise WorkerLost("try again")

    served.workers.reply = lose
    with pytest.raises(WorkerLost):
        await served.classifier.classify(call())
    assert served.images("worker_lost") == 1


async def test_a_full_queue_sheds_the_whole_call() -> None:
    served = gateway(queue_size=2)
    with pytest.raises(Overloaded):
        await served.classifier.classify(call(PNG, PNG, PNG))
    assert not served.workers.jobs
    assert served.model.admission.waiting == 0
    assert len((await served.classifier.classify(call(PNG, PNG))).results) == 2


async def test_a_bad_image_takes_no_place_in_the_queue() -> None:
    served = gateway(queue_size=1)
    assert outcomes(await served.classifier.classify(call(TEXT, PNG))) == ["UNSUPPORTED_TYPE", "two"]


async def test_a_caller_that_goes_away_leaves_nothing_behind(served: Gateway) -> None:
    served.workers.gate.clear()
    task = asyncio.create_task(served.classifier.classify(call(*[PNG] * MAX_IMAGES)))
    await until(lambda: len(served.workers.jobs) == 4)
    assert (served.model.admission.dispatched, served.model.admission.waiting) == (4, 4)
    task.cancel()
    await asyncio.wait([task])
    assert (served.model.admission.dispatched, served.model.admission.waiting) == (4, 0)
    served.workers.gate.set()
    await until(lambda: served.model.admission.dispatched == 0)
    assert served.workers.finished == 4  # none was cancelled, none of the waiting ones was sent


async def test_a_call_cancelled_before_it_reached_the_queue_gives_its_places_back(served: Gateway) -> None:
    task = asyncio.create_task(served.classifier.classify(call(PNG, PNG)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert served.model.admission.waiting == 0


async def test_timing_tells_queue_and_batch_wait_and_the_workers_stages(served: Gateway) -> None:
    served.workers.gate.clear()
    task = asyncio.create_task(served.classifier.classify(call(*[PNG] * 5)))  # four slots: the fifth waits
    await until(lambda: len(served.workers.jobs) == 4)
    await asyncio.sleep(0.05)
    served.workers.gate.set()
    timing = (await task).timing
    assert (timing.decode, timing.inference) == (0.001, 0.002)
    assert timing.queue + timing.batch_wait >= 0.05
    stage = {"model": "digits", "version": "1.0"}
    assert served.value("stage_seconds_count", stage="queue", **stage) == 5
    assert served.value("stage_seconds_sum", stage="queue", **stage) >= 0.05
    assert served.value("stage_seconds_sum", stage="decode", **stage) == pytest.approx(0.005)
    assert served.value("stage_seconds_sum", stage="inference", **stage) == pytest.approx(0.010)
    assert served.images("ok") == 5


async def test_the_timing_of_a_call_is_its_slowest_images(served: Gateway) -> None:
    seconds = iter([0.1, 0.7, 0.2])
    served.workers.reply = lambda job: answer_to(job, inference_seconds=next(seconds))
    response = await served.classifier.classify(call(PNG, PNG, PNG))
    assert response.timing.inference == 0.7


async def test_a_bulk_image_waits_for_room_and_carries_its_error_as_a_value() -> None:
    served = gateway(queue_size=1)
    (place,) = served.model.admission.admit(1, caller="")
    served.workers.reply = lambda job: error_to(job, Error.UNDECODABLE)
    task = asyncio.create_task(served.classifier.classify_bulk(call()))
    await asyncio.sleep(0.01)
    assert not task.done()
    place.leave()
    model, image = await task
    assert model is served.model
    assert isinstance(image.result, Undecodable)
    assert served.model.admission.waiting == 0


async def test_a_bulk_image_that_the_header_check_refuses_raises_and_is_counted(served: Gateway) -> None:
    with pytest.raises(UnsupportedType):
        await served.classifier.classify_bulk(call(TEXT))
    assert served.images("unsupported_type") == 1


async def test_an_abandoned_answer_is_still_a_sign_of_life(served: Gateway) -> None:
    served.model.workers.answered_at = {os.getpid(): time.monotonic() - 9.0}
    served.workers.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await served.classifier.classify(call(timeout=0.5))
    served.workers.gate.set()
    await until(lambda: served.model.admission.dispatched == 0)
    assert served.model.workers.idle_seconds < 6


async def test_an_empty_name_and_version_mean_the_first_model() -> None:
    served = gateway([archive_of("b", "2"), archive_of("a", "1"), archive_of("a", "3")])
    assert (await served.classifier.classify(call())).model == "b"
    response = await served.classifier.classify(call(model="a"))
    assert (response.model, response.version) == ("a", "1")
    response = await served.classifier.classify(call(model="a", version="3"))
    assert (response.model, response.version) == ("a", "3")


async def test_a_version_without_a_name_is_one_of_the_default_model() -> None:
    served = gateway([archive_of("b", "2"), archive_of("a", "1")])
    with pytest.raises(ModelNotFound):
        await served.classifier.classify(call(version="1"))


async def test_a_model_describes_itself() -> None:
    served = gateway([archive_of("a", "1"), archive_of("b", "1"), archive_of("a", "2")])
    await served.classifier.classify(call())
    description = served.classifier.models.describe("a", "")
    assert (description.name, description.version, list(description.versions)) == ("a", "1", ["1", "2"])
    assert (description.input_height, description.input_width) == (32, 64)
    assert list(description.labels) == ["zero", "one", "two"]
    assert (description.backend, description.dtype, description.ready) == ("eager", "float32", True)
    assert description.multiply_adds == 5_000_000_000


async def test_the_canary_is_a_forward_pass_past_the_queue(served: Gateway) -> None:
    served.model.workers.answered_at.clear()
    served.model.admission.admit(16, caller="")
    await served.classifier.canary(served.model, PNG)
    assert served.model.workers.ready
    assert served.images("ok") == 0


async def test_a_canary_that_comes_back_as_an_error_proves_nothing(served: Gateway) -> None:
    served.model.workers.answered_at.clear()
    served.workers.reply = lambda job: error_to(job, Error.INTERNAL, "sticky")
    with capture_logs() as logs, pytest.raises(InternalError):
        await served.classifier.canary(served.model, PNG)
    assert not served.model.workers.ready
    assert logs[0]["error"] == "sticky"


@pytest.mark.parametrize("changes", [{"contract_version": CONTRACT_VERSION + 1}, {"results": []}])
async def test_a_canary_whose_answer_does_not_fit_proves_nothing(served: Gateway, changes: dict[str, Any]) -> None:
    served.model.workers.answered_at.clear()
    served.workers.reply = lambda job: answer_to(job, **changes)
    with pytest.raises(ServingError):
        await served.classifier.canary(served.model, PNG)
    assert not served.model.workers.ready
