"""The time limits of a resident thread's waits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = ["Alarm"]


class Alarm:
    """Calls a function when a wait in a loop has lasted too long.

    Nearly every wait is over before that. So one timer stays on the loop from wait to wait. When
    it rings, it checks how long the current wait may still last. Lives as long as the loop; for
    its thread only.
    """

    def __init__(self, live: LiveLoop) -> None:
        # Never changes:
        self._live = live
        self._clock = live.primitives.clock
        # One thread, the loop's:
        self._call: Callable[[], None] | None = None  # None between two waits
        self._due = math.inf  # when the current wait has to end
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf  # when the timer rings

    def set(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function after `seconds`, unless `clear()` is called before."""
        self._call, self._due = call, self._clock() + seconds
        if self._due < self._rings:
            self._start(seconds)

    def clear(self) -> None:
        """The wait is over: do not call the function."""
        self._call = None

    def _start(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = self._due
        self._timer = self._live.later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings = None, math.inf
        call, left = self._call, self._due - self._clock()
        if call is None:
            return
        if left > 0:
            self._start(left)
        else:
            self._call = None
            call()
