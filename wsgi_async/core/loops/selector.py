"""A selector that makes up for wake-ups that were given in the wrong way."""

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
"""Seconds. A wake-up that was lost comes at most that late."""

_RESOLUTION = time.get_clock_info("monotonic").resolution

_TURNS = 5
"""How often a loop turns that is to come to rest and does not."""


class WatchedSelector(selectors.DefaultSelector):
    """The platform's best selector, which never sleeps long while there is work in flight.

    Code that shares an asyncio object between threads wakes another thread's loop by a plain
    `call_soon()`. That puts the callback on the loop and leaves the loop asleep, perhaps for
    ever. So a loop with work in flight has a look once a second. Lives as long as its loop; only
    the thread that runs the loop touches it.
    """

    work: Collection[object] = ()
    """What is in flight on the loop; it changes under our hands."""
    lost: Callable[[], None] | None = None
    """Called when a look has found a wake-up that was lost."""
    turns = 0
    """How often the loop has come by. Others look at it in passing, to see whether it turns."""
    asleep = False
    """Whether it waits here with nothing to do; likewise."""
    blind_turns = 0
    """How many turns in a row the loop may take without a look at its descriptors, if it has other
    work. Each look gives up the GIL, which costs a thread among busy others more than the look."""
    _blind = 0
    _looked = False
    _turns_left = 0
    _due = math.inf  # when the next timer of the loop rings

    def __init__(self) -> None:
        super().__init__()
        self._select = super().select  # bound once: every turn of the loop comes by

    def leave_soon(self, stop: Callable[[], None]) -> None:
        """End the loop's run as soon as nothing is ready on it, and after a few turns at last.

        Args:
            stop: Ends it in the turn in which it is called.
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
            return []  # whoever enters the loop next looks
        if timeout == 0:
            if self._blind < self.blind_turns and not self._looked:
                self._blind += 1
                return []
            self._blind = 0
            events = self._select(0)
            if not self._looked:
                return events
            # The loop slept, we cut that short, and now it has something to do without any event:
            # the callback was there all the time.
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
