"""Threads that keep classifying while something happens to the service, and count how their calls ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

import swinserve
from tests.e2e.running import until


class Callers:
    """They ask for one image over and over."""

    def __init__(self, url: str, image: Path, *, count: int, timeout: float | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        """right, wrong, refused (never begun by the service) or the error's reason"""
        self.broken: list[str] = []
        """Request ids of calls whose connection ended without an answer."""
        self.slowest = 0.0
        """Seconds of the longest call."""
        self._url, self._image, self._timeout = url, image.read_bytes(), timeout
        self._label = image.name.split("-")[0]
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        with swinserve.Client(self._url, retries=0) as client:  # what the service does is looked at, not what we mend
            while not self._end.is_set():
                started = time.monotonic()
                try:
                    answer = client.classify(self._image, timeout=self._timeout)
                    right = answer.results[0].predictions[0].label == self._label
                    self.outcomes["right" if right else "wrong"] += 1
                except swinserve.SwinserveError as error:
                    outcome = "refused" if never_begun(error) else error.reason
                    self.outcomes[outcome] += 1
                    if outcome == "UNREACHABLE":
                        self.broken.append(error.request_id)
                    time.sleep(0.05)
                self.slowest = max(self.slowest, time.monotonic() - started)

    def stop(self) -> Counter[str]:
        self._end.set()
        for thread in self._threads:
            thread.join(70)
        return self.outcomes


@contextmanager
def calling(*urls: str, image: Path, count: int, timeout: float | None = None) -> Iterator[list[Callers]]:
    """`count` callers on each URL, stopped at the end."""
    found = [Callers(url, image, count=count, timeout=timeout) for url in urls]
    try:
        yield found
    finally:
        for callers in found:
            callers.stop()


def further(found: list[Callers], count: int, seconds: float) -> float:
    """Waits until each has had `count` more right answers; the seconds it took."""
    wanted = [callers.outcomes["right"] + count for callers in found]
    return until(lambda: all(now.outcomes["right"] >= then for now, then in zip(found, wanted, strict=True)), seconds)


def never_begun(error: swinserve.SwinserveError) -> bool:
    """Whether the service had not begun the call: nobody listened any more, or gRPC shut down under it.

    The service's first act on every gRPC call is to send its request id, so a call that got none was never accepted.
    """
    if "Connection refused" in error.message:
        return True
    cause = error.__cause__
    begun = not isinstance(cause, grpc.Call) or any(key == "x-request-id" for key, _ in cause.initial_metadata() or ())
    return "shut down before it took the call" in error.message and not begun
