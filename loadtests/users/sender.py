"""What users of either protocol have in common: which file is sent when, and how its answer is counted."""

from __future__ import annotations

import dataclasses
import functools
import random
import time
from abc import abstractmethod
from pathlib import Path

import gevent
from answers import Judgement
from arrivals import Arrivals
from gevent.pool import Pool
from locust import User, tag, task
from payloads import SAMPLES, Payload, good, malformed
from slo import SENDS

CALL_SECONDS = 10.0
"""Deadline of each call."""
FLIGHTS = 64
"""Calls of one open-loop user that may be under way; what is due beyond is dropped and counted."""
SHED_SECONDS = 0.1
"""A closed loop's pause after a refusal: to ask again at once would measure how fast it refuses."""


class Sender(User):
    """A closed loop: the next call follows the last answer. With --rate an open one, a greenlet for each call."""

    abstract = True

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self._good, self._malformed = mix(options.image, options.any_label)
        self._arrivals = Arrivals(options.rate, time.perf_counter()) if options.rate else None
        self._flights = Pool(FLIGHTS)
        if self._arrivals:
            gevent.sleep(self._arrivals.wait(time.perf_counter()))

    def on_stop(self) -> None:
        if self._arrivals:
            for _ in range(self._arrivals.missed(time.perf_counter())):
                self._count(None)
            self._flights.join(self.environment.stop_timeout)
            self._flights.kill()

    def wait_time(self) -> float:
        """Locust's pause between two tasks."""
        return self._arrivals.wait(time.perf_counter()) if self._arrivals else 0.0

    @tag("good")
    @task(19)
    def classify(self) -> None:
        self._send(random.choice(self._good))

    @tag("malformed")
    @task(1)
    def refuse(self) -> None:
        self._send(random.choice(self._malformed))

    @abstractmethod
    def ask(self, payload: Payload, due: float) -> Judgement:
        """Sends it and reports the outcome to Locust, with the time since it was due, by `time.perf_counter`."""

    def _send(self, payload: Payload) -> None:
        if self._arrivals is None:
            if self.ask(payload, time.perf_counter()).shed:
                gevent.sleep(SHED_SECONDS)
            return
        due = self._arrivals.due
        self._arrivals.next()
        if self._flights.full():
            self._count(None)
        else:
            self._count(time.perf_counter() - due)
            self._flights.spawn(self.ask, payload, due)

    def _count(self, late_seconds: float | None) -> None:
        """One more call was due: sent so late, or not at all. Kept beside Locust's total, to which it is no call."""
        entry = self.environment.stats.get(*SENDS)
        if late_seconds is None:
            entry.log_error("not sent")
        entry.log(late_seconds and 1000 * late_seconds, 0)


@functools.cache
def mix(image: str, any_label: bool) -> tuple[list[Payload], list[Payload]]:
    """Good and malformed files; of the good ones only `image`, if it is given."""
    samples = sorted(SAMPLES.iterdir())
    chosen = good(samples) if not image else [Payload(Path(image).name, Path(image).read_bytes())]
    if image and not any_label:
        chosen = [dataclasses.replace(chosen[0], label=Path(image).name.split("-")[0])]
    if any_label:
        chosen = [dataclasses.replace(payload, label="") for payload in chosen]
    return chosen, malformed(samples)
