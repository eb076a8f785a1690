from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

import pytest

from swin_gateway.admission import Admission
from swin_gateway.errors import DeadlineExceeded, DeadlineUnreachable, Overloaded
from swin_gateway.metrics import Metrics

from .assembly import until

LABELS = {"model": "digits", "version": "1"}


class Pipeline:
    """The neighbour: what `dispatch` runs; every call waits for `gate`."""

    def __init__(self, *, batch_size: int = 2, workers: int = 1, queue_size: int = 8) -> None:
        self.metrics = Metrics()
        self.admission = Admission(
            batch_size=batch_size,
            workers=workers,
            queue_size=queue_size,
            metrics=self.metrics.for_model("digits", "1"),
        )
        self.gate = asyncio.Event()
        self.seconds = 0.0  # that each takes once the gate is open
        self.started: list[int] = []
        self.ended: list[int] = []

    def dispatch(self, number: int) -> Callable[[], asyncio.Future[int]]:
        async def run() -> int:
            self.started.append(number)
            await self.gate.wait()
            await asyncio.sleep(self.seconds)
            self.ended.append(number)
            return number

        return run  # type: ignore[return-value]

    def call(self, number: int, *, seconds: float = 5.0, caller: str = "a") -> asyncio.Task[int]:
        """Takes a place now and runs in a task."""
        (place,) = self.admission.admit(1, caller=caller)
        deadline = time.monotonic() + seconds
        return asyncio.create_task(self.admission.run(place, self.dispatch(number), deadline=deadline))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"swinserve_{name}", LABELS | labels) or 0.0

    def assert_empty(self) -> None:
        assert (self.admission.waiting, self.admission.dispatched) == (0, 0)
        assert self.value("queue_images") == 0


async def test_an_images_way_is_queue_then_dispatch_then_answer() -> None:
    pipeline = Pipeline()
    pipeline.gate.set()
    assert await pipeline.call(7) == 7
    pipeline.assert_empty()


async def test_all_images_of_a_call_are_admitted_or_none() -> None:
    pipeline = Pipeline(queue_size=3)
    places = pipeline.admission.admit(2, caller="a")
    with pytest.raises(Overloaded) as shed:
        pipeline.admission.admit(2, caller="a")
    assert shed.value.retry_after == 1.0
    assert pipeline.admission.waiting == 2
    assert pipeline.value("queue_images") == 2
    assert len(pipeline.admission.admit(1, caller="a")) == 1
    for place in places:
        place.leave()
    assert pipeline.admission.waiting == 1


async def test_leaving_a_place_twice_is_harmless() -> None:
    pipeline = Pipeline()
    first, _ = pipeline.admission.admit(2, caller="a")
    first.leave()
    first.leave()
    assert pipeline.admission.waiting == 1


@pytest.mark.parametrize(("batch_size", "workers", "window"), [(1, 1, 2), (2, 1, 4), (4, 2, 16)])
async def test_two_batches_per_worker_are_dispatched_and_the_rest_waits(
    batch_size: int, workers: int, window: int
) -> None:
    pipeline = Pipeline(batch_size=batch_size, workers=workers, queue_size=100)
    calls = [pipeline.call(number) for number in range(window + 5)]
    await until(lambda: len(pipeline.started) == window)
    await asyncio.sleep(0.01)
    assert (pipeline.admission.dispatched, pipeline.admission.waiting) == (window, 5)
    pipeline.gate.set()
    assert await asyncio.gather(*calls) == list(range(window + 5))
    pipeline.assert_empty()


async def test_first_come_first_served() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=100)
    calls = [pipeline.call(number) for number in range(50)]
    await until(lambda: len(pipeline.started) == 2)
    pipeline.gate.set()
    await asyncio.gather(*calls)
    assert pipeline.started == list(range(50))


async def test_a_deadline_that_passes_in_the_queue_is_never_dispatched() -> None:
    pipeline = Pipeline(batch_size=1)
    under_way = [pipeline.call(number) for number in range(2)]
    late = pipeline.call(2, seconds=0.02)
    with pytest.raises(DeadlineExceeded, match="in the queue"):
        await late
    pipeline.gate.set()
    await asyncio.gather(*under_way)
    await asyncio.sleep(0.01)
    assert pipeline.started == [0, 1]
    assert pipeline.value("expired_images_total") == 1
    pipeline.assert_empty()


async def test_a_deadline_that_passes_behind_the_queue_abandons_the_answer_and_not_the_call() -> None:
    pipeline = Pipeline(batch_size=1)
    late = pipeline.call(0, seconds=0.5)
    with pytest.raises(DeadlineExceeded, match="while the image was being classified"):
        await late
    assert pipeline.admission.dispatched == 1
    assert pipeline.value("abandoned_images_total", cause="deadline") == 1
    pipeline.gate.set()
    await until(lambda: pipeline.ended == [0])
    await asyncio.sleep(0)
    pipeline.assert_empty()


async def test_the_slot_of_an_abandoned_call_is_free_once_and_not_before_its_end() -> None:
    pipeline = Pipeline(batch_size=1)  # two slots
    abandoned = [pipeline.call(number, seconds=0.5) for number in range(2)]
    await asyncio.gather(*abandoned, return_exceptions=True)
    after = [pipeline.call(number) for number in range(2, 6)]
    await asyncio.sleep(0.01)
    assert pipeline.started == [0, 1]
    pipeline.gate.set()
    await asyncio.gather(*after)
    pipeline.gate.clear()
    again = [pipeline.call(number) for number in range(6, 12)]
    await asyncio.sleep(0.01)
    assert pipeline.admission.dispatched == 2
    pipeline.gate.set()
    await asyncio.gather(*again)
    pipeline.assert_empty()


async def test_a_caller_that_goes_away_in_the_queue_gives_its_place_back() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=1)
    under_way = []
    for number in range(2):
        under_way.append(pipeline.call(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    gone = pipeline.call(2)
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        pipeline.call(3)
    gone.cancel()
    await asyncio.wait([gone])
    pipeline.call(4).cancel()
    pipeline.gate.set()
    await asyncio.gather(*under_way)
    assert pipeline.started == [0, 1]


async def test_a_caller_that_goes_away_while_dispatched_does_not_cancel_the_call() -> None:
    pipeline = Pipeline()
    gone = pipeline.call(0)
    await until(lambda: pipeline.started)
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    assert pipeline.value("abandoned_images_total", cause="caller") == 1
    pipeline.gate.set()
    await until(lambda: pipeline.ended == [0])
    await asyncio.sleep(0)
    pipeline.assert_empty()


async def test_a_cancellation_at_the_deadline_is_the_deadlines_doing() -> None:
    """gRPC cancels a call itself when its deadline passes, and may be faster than our own timer."""
    pipeline = Pipeline(batch_size=1)
    calls = [pipeline.call(number, seconds=0.05) for number in range(3)]  # two dispatched, one waiting
    await until(lambda: len(pipeline.started) == 2)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert pipeline.value("abandoned_images_total", cause="deadline") == 2
    assert pipeline.value("abandoned_images_total", cause="caller") == 0
    assert pipeline.value("expired_images_total") == 1
    pipeline.gate.set()
    await until(lambda: not pipeline.admission.dispatched)
    pipeline.assert_empty()


async def test_an_error_of_an_abandoned_call_is_nobodys_and_frees_its_slot() -> None:
    pipeline = Pipeline(batch_size=1)

    async def fail() -> None:
        await pipeline.gate.wait()
        raise RuntimeError("too late to matter")

    (place,) = pipeline.admission.admit(1, caller="a")
    with pytest.raises(DeadlineExceeded):
        await pipeline.admission.run(place, fail, deadline=time.monotonic() + 0.02)
    pipeline.gate.set()
    await until(lambda: not pipeline.admission.dispatched)
    assert await asyncio.gather(*(pipeline.call(number) for number in range(3))) == [0, 1, 2]


async def test_an_error_of_the_call_is_the_callers() -> None:
    pipeline = Pipeline()

    async def fail() -> None:
        raise RuntimeError("broken")

    (place,) = pipeline.admission.admit(1, caller="a")
    with pytest.raises(RuntimeError, match="broken"):
        await pipeline.admission.run(place, fail, deadline=time.monotonic() + 1)
    await asyncio.sleep(0)
    pipeline.assert_empty()


async def test_a_bulk_caller_waits_for_room_instead_of_being_shed() -> None:
    pipeline = Pipeline(queue_size=1)
    (place,) = pipeline.admission.admit(1, caller="a")
    waiting = [asyncio.create_task(pipeline.admission.admit_when_room(caller="a")) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in waiting)
    place.leave()
    await until(lambda: any(task.done() for task in waiting))
    await asyncio.sleep(0.01)
    assert [task.done() for task in waiting].count(True) == 1
    assert pipeline.admission.waiting == 1
    next(task for task in waiting if task.done()).result().leave()
    for each in await asyncio.gather(*waiting):
        each.leave()
    pipeline.assert_empty()


async def test_a_full_queue_says_how_long_it_will_take() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=200)
    slow = [pipeline.call(number) for number in range(2)]
    await asyncio.sleep(0.2)
    pipeline.gate.set()
    await asyncio.gather(*slow)
    pipeline.admission.admit(200, caller="a")
    with pytest.raises(Overloaded, match="200 images wait") as shed:
        pipeline.admission.admit(1, caller="a")
    assert shed.value.retry_after is not None
    assert 10 <= shed.value.retry_after <= 60  # 0.2 s for two images at once: about 0.1 s each, 200 of them


async def test_a_call_whose_deadline_the_queue_will_pass_is_refused_at_once() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=200)
    pipeline.admission.admit(100, caller="a", deadline=time.monotonic() + 0.01)  # at no known rate
    slow = [pipeline.call(number) for number in range(2)]
    await asyncio.sleep(0.2)
    pipeline.gate.set()
    await asyncio.gather(*slow)
    with pytest.raises(DeadlineUnreachable, match="100 images wait and 0 are under way; this would take about") as shed:
        pipeline.admission.admit(1, caller="a", deadline=time.monotonic() + 2)
    assert shed.value.retry_after is not None
    pipeline.admission.admit(1, caller="a", deadline=time.monotonic() + 120)


async def test_a_deadline_that_has_passed_is_not_blamed_on_an_empty_queue() -> None:
    with pytest.raises(DeadlineUnreachable, match="the deadline leaves no time for this"):
        Pipeline().admission.admit(1, caller="a", deadline=time.monotonic())


async def test_what_waited_too_long_to_be_answered_in_time_is_not_computed_in_vain() -> None:
    """Accepted before the rate was known; when its turn comes its deadline is ahead, but not far enough."""
    pipeline = Pipeline(batch_size=1, queue_size=200)
    slow = [pipeline.call(number) for number in range(2)]
    await until(lambda: len(pipeline.started) == 2)
    hopeless, hopeful = pipeline.call(2, seconds=4.0), pipeline.call(3, seconds=60.0)
    await asyncio.sleep(3.0)  # 1.5 s an image, by which the second of slack is too little
    pipeline.gate.set()
    with pytest.raises(DeadlineExceeded, match="waited too long"):
        await hopeless
    await asyncio.gather(*slow, hopeful)
    assert pipeline.started == [0, 1, 3]
    assert pipeline.value("expired_images_total") == 1
    assert pipeline.value("abandoned_images_total", cause="deadline") == 0
    pipeline.assert_empty()


async def test_a_slow_past_refuses_nothing_while_slots_are_free() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=200)
    slow = [pipeline.call(number) for number in range(2)]
    await asyncio.sleep(2.0)
    pipeline.gate.set()
    await asyncio.gather(*slow)
    assert await pipeline.call(2, seconds=0.8) == 2  # less than the second an image took


async def test_an_idle_service_refuses_no_call_for_what_it_knew_long_ago() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=200)
    slow = [pipeline.call(number) for number in range(2)]
    await asyncio.sleep(0.2)
    pipeline.gate.set()
    await asyncio.gather(*slow)
    await until(lambda: not pipeline.admission.dispatched)
    assert len(pipeline.admission.admit(64, caller="a", deadline=time.monotonic() + 0.5)) == 64


async def test_one_stall_is_not_taken_for_the_rate() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=200)
    for number in range(50):
        pipeline.gate.clear()
        both = [pipeline.call(2 * number), pipeline.call(2 * number + 1)]
        await asyncio.sleep(1.0 if number == 49 else 0.01)
        pipeline.gate.set()
        await asyncio.gather(*both)
    assert pipeline.admission._seconds_per_image < 0.05  # a hundredth by then, five times that at the very most


async def test_a_bulk_caller_waits_for_room_no_longer_than_its_deadline() -> None:
    pipeline = Pipeline(queue_size=1)
    pipeline.admission.admit(1, caller="a")
    with pytest.raises(DeadlineExceeded, match="room"):
        await pipeline.admission.admit_when_room(caller="a", deadline=time.monotonic() + 0.02)


@pytest.mark.parametrize("seed", range(5))
async def test_no_place_and_no_slot_is_ever_lost(seed: int) -> None:
    """Calls of random length, deadline, error and patience; afterwards everything is free again."""
    dice = random.Random(seed)
    pipeline = Pipeline(batch_size=2, queue_size=20)
    most = 0

    async def work(seconds: float, fails: bool) -> None:
        nonlocal most
        most = max(most, pipeline.admission.dispatched)
        await asyncio.sleep(seconds)
        if fails:
            raise RuntimeError

    async def caller() -> None:
        await asyncio.sleep(dice.random() * 0.1)
        try:
            places = pipeline.admission.admit(dice.randint(1, 4), caller=dice.choice("abc"))
        except Overloaded:
            return
        try:
            async with asyncio.timeout(dice.choice([0.002, 0.02, 1])):
                runs = [
                    pipeline.admission.run(
                        place,
                        lambda: work(dice.random() * 0.01, dice.random() < 0.2),
                        deadline=time.monotonic() + dice.choice([0, 0.003, 0.02, 1]),
                    )
                    for place in places
                ]
                await asyncio.gather(*runs, return_exceptions=True)
        except TimeoutError:
            pass
        finally:
            for place in places:
                place.leave()

    await asyncio.gather(*(caller() for _ in range(120)))
    await until(lambda: not pipeline.admission.dispatched)
    pipeline.assert_empty()
    assert most <= 4
    pipeline.gate.clear()
    calls = [pipeline.call(number) for number in range(6)]
    await until(lambda: len(pipeline.started) == 4)
    await asyncio.sleep(0.005)
    assert len(pipeline.started) == 4  # the window is what it was
    pipeline.gate.set()
    await asyncio.gather(*calls)


async def test_callers_take_turns_however_many_images_one_sends() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=100)
    flood = [pipeline.call(number, caller="flood") for number in range(60)]
    await until(lambda: len(pipeline.started) == 2)
    modest = [pipeline.call(100 + number, caller="modest") for number in range(10)]
    third = [pipeline.call(200 + number, caller="third") for number in range(5)]
    pipeline.gate.set()
    await asyncio.gather(*flood, *modest, *third)
    served = pipeline.started[2:]
    assert served[:15] == [number for at in range(5) for number in (2 + at, 100 + at, 200 + at)]
    assert served[15:25] == [number for at in range(5, 10) for number in (2 + at, 100 + at)]
    pipeline.assert_empty()


async def test_a_caller_whose_oldest_images_came_too_late_still_has_its_turn() -> None:
    """Else a flood, whose images wait longest, would get less than its share."""
    pipeline = Pipeline(batch_size=1, queue_size=100)
    slow = [pipeline.call(number, caller="slow") for number in range(2)]
    await until(lambda: len(pipeline.started) == 2)
    hopeless = [pipeline.call(10 + number, seconds=1.4, caller="flood") for number in range(4)]
    hopeful = [pipeline.call(20 + number, caller="flood") for number in range(3)]
    modest = [pipeline.call(30 + number, caller="modest") for number in range(3)]
    await asyncio.sleep(1.0)
    pipeline.seconds = 0.02
    pipeline.gate.set()
    late = await asyncio.gather(*hopeless, return_exceptions=True)
    await asyncio.gather(*slow, *hopeful, *modest)
    assert all(isinstance(error, DeadlineExceeded) for error in late)
    rounds = [set(pipeline.started[at : at + 2]) for at in (2, 4, 6)]
    assert rounds == [{20, 30}, {21, 31}, {22, 32}]
    pipeline.assert_empty()


async def test_a_flood_leaves_room_for_others() -> None:
    pipeline = Pipeline(queue_size=90)
    pipeline.admission.admit(90, caller="flood")
    with pytest.raises(Overloaded):
        pipeline.admission.admit(1, caller="flood")
    pipeline.admission.admit(20, caller="modest")
    pipeline.admission.admit(5, caller="third")
    held = 115
    for caller in map(str, range(100)):  # each newcomer finds less, and all of them together a bounded number
        with contextlib.suppress(Overloaded):
            held += len(pipeline.admission.admit(1, caller=caller))
    assert pipeline.admission.waiting == held <= 120


async def test_a_caller_that_waits_little_is_not_refused_for_what_a_flood_waits() -> None:
    pipeline = Pipeline(batch_size=1, queue_size=200)
    slow = [pipeline.call(number) for number in range(2)]
    await asyncio.sleep(0.2)
    pipeline.gate.set()
    await asyncio.gather(*slow)  # about 0.1 s for each image
    pipeline.admission.admit(150, caller="flood")
    with pytest.raises(DeadlineUnreachable):
        pipeline.admission.admit(1, caller="flood", deadline=time.monotonic() + 5)
    pipeline.admission.admit(1, caller="modest", deadline=time.monotonic() + 5)
    with pytest.raises(DeadlineUnreachable):
        pipeline.admission.admit(40, caller="modest", deadline=time.monotonic() + 5)


async def test_a_turn_that_comes_as_its_owner_goes_is_the_next_ones() -> None:
    pipeline = Pipeline(batch_size=1)
    calls = [pipeline.call(number) for number in range(4)]
    await until(lambda: len(pipeline.started) == 2)
    pipeline.gate.set()
    await until(lambda: pipeline.ended)
    calls[2].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[3] == 3
    pipeline.assert_empty()
