"""What a call holds of something bounded -> given back when the call has ended, and of its dispatched images when their
jobs have: a worker goes on with what its caller has abandoned, and that caller must not send the next in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Held:
    def __init__(self, change: Callable[[int], None], size: int = 0) -> None:
        """change: adds to what is held, or takes from it; size: what is already"""
        self._change = change
        self.size = size
        self._dispatched = 0
        self._ended = False

    @contextmanager
    def dispatched(self, size: int = 1) -> Iterator[None]:
        """Around the job of an image that has so much of it."""
        self._dispatched += size
        if self._ended:  # in the moment between its slot and its first step
            self._change(size)
        try:
            yield
        finally:
            self._dispatched -= size
            if self._ended:
                self._change(-size)

    def end(self) -> None:
        """Once, when the call has ended."""
        self._ended = True
        self._change(self._dispatched - self.size)


NOTHING = Held(lambda _: None)
