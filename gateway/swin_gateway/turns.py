"""Those who wait for something, by caller: turns go round the callers, one each, so that a flood waits for itself."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

Turn = asyncio.Future[None]


class Turns:
    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Turn]] = OrderedDict()
        """No line is empty; the first has the next turn."""

    def join(self, caller: str) -> Turn:
        """What is done when the turn has come; whoever waits no longer must `leave`."""
        turn: Turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(caller, deque()).append(turn)
        return turn

    def leave(self, caller: str, turn: Turn) -> None:
        """Harmless for one that has been skipped."""
        line = self._lines.get(caller, deque())
        if turn in line:
            line.remove(turn)
            if not line:
                del self._lines[caller]

    def give(self, again: str | None = None) -> bool:
        """The next turn has come; False if nobody waits. again: the caller that could not use its turn keeps it."""
        if again is not None and again in self._lines:
            self._lines.move_to_end(again, last=False)
        while self._lines:
            caller, line = next(iter(self._lines.items()))
            turn = line.popleft()
            if not line:
                del self._lines[caller]
            if not turn.done():  # else its owner was cancelled a moment ago and will leave
                if line:
                    self._lines.move_to_end(caller)
                turn.set_result(None)
                return True
        return False
