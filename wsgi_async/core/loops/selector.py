"""A selector that makes up for wake-ups that were not thread-safe."""

from __future__ import annotations

import math
import selectors
import time
from typing import TYPE_CHECKING

from wsgi_async.core.base.primitives import Primitives

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["LOOK", "WatchedSelector"]

LOOK = 1.0
"""Seconds. A lost wake-up comes late by at most this."""

_RESOLUTION = time.get_clock_info("monotonic").resolution

_TURNS = 5
"""How many turns a loop gets to become idle before its run ends."""


class WatchedSelector(selectors.DefaultSelector):
    """The platform's best selector, which never sleeps long while there is work in flight.

    Code that shares an asyncio object between threads calls a plain `call_soon()` on another
    thread's loop. That puts the callback on the loop and leaves the loop asleep, perhaps forever.
    So a loop with work in flight wakes once a second. Lives as long as its loop; only the thread
    that runs the loop changes it.
    """

    work: Collection[object] = ()
    """The work in flight on the loop. Other threads may change it at any moment."""
    lost: Callable[[], None] | None = None
    """Called when a lost wake-up was found."""
    turns = 0
    """How often the loop has called `select()`. Other threads read it to see whether it turns."""
    asleep = False
    """Whether the loop waits in `select()` with nothing to do. Other threads read this too."""
    blind_turns = 0
    """How many turns in a row the loop may skip the check of its descriptors, if it has other work.
    Each check releases the GIL, which costs more than the check if other threads are busy."""
    _blind = 0
    _looked = False
    _turns_left = 0
    _due = math.inf  # when the next timer of the loop rings

    def __init__(self) -> None:
        super().__init__()
        self._select = super().select  # bound once: every turn of the loop calls it

    def leave_soon(self, stop: Callable[[], None]) -> None:
        """End the loop's run as soon as nothing is ready on it, or else after a few turns.

        Args:
            stop: Ends the run in the turn in which it is called.
        """
        self._stop, self._turns_left = stop, _TURNS

    def _leaves(self, *, ready: bool) -> bool:
        self._turns_left -= 1
        if ready and self._turns_left:
            return False
        self._turns_left = 0
        self._stop()
        return True

    def _is_due(self) -> bool:
        """Whether a timer has rung. asyncio calls one that is due within the clock's resolution."""
        return Primitives.clock() + _RESOLUTION >= self._due

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the base class."""
        self.turns += 1
        if self._turns_left and self._leaves(ready=timeout == 0):
            return []  # the next run of the loop checks the descriptors
        if timeout == 0:
            if self._blind < self.blind_turns and not self._looked:
                self._blind += 1
                return []
            self._blind = 0
            events = self._select(0)
            if not self._looked:
                return events
            # We cut the loop's sleep short, and now the loop has work although there was no event
            # and no timer was due. So the callback was there all the time.
            if not (events or self.lost is None or self._is_due()):
                self.lost()
            self._looked = False
            return events
        cut_short = (timeout is None or timeout > LOOK) and bool(self.work)
        self._due = math.inf if timeout is None else Primitives.clock() + timeout
        self.asleep = True
        try:
            events = self._select(LOOK if cut_short else timeout)
        finally:
            self.asleep = False
        self._looked = cut_short and not events
        return events
