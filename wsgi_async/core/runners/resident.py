"""A resident loop: it lives on the worker thread that it is for.

With no work the thread waits inside its loop. A `run()` on that thread enters the loop until the
task is done, so there is no hop; background tasks go on whenever the thread waits.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..loops.entering import LoopEntry
from .runner import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base.primitives import Wakeup
    from ..jobs.job import Job
    from ..loops.live_loop import LiveLoop

__all__ = ["PATIENCE", "Resident", "Seat", "current_seat", "has_free_seat", "take_seat", "wakeup_here"]

PATIENCE = 5.0
"""Seconds that a thread waits for a loop whose own thread does not come to it."""


class Seat:
    """The place for one resident loop on a thread that can wait in it. Lives as long as the thread.

    For that thread only.
    """

    runner: Resident | None = None


class _Here(threading.local):
    seat: Seat | None = None


_here = _Here()


def take_seat() -> Seat:
    """From now on the first manager that the current thread starts lives on it."""
    seat = _here.seat = Seat()
    return seat


def current_seat() -> Seat | None:
    """The current thread's."""
    return _here.seat


def has_free_seat() -> bool:
    """Whether a loop can live on the current thread."""
    return _here.seat is not None and _here.seat.runner is None


def wakeup_here() -> Wakeup | None:
    """What the current thread waits with if it has a resident loop, which goes on meanwhile."""
    seat = _here.seat
    return None if seat is None or seat.runner is None else LoopWakeup(seat.runner)


class Resident:
    """Runs one loop on the thread that it is made on, whenever that thread waits.

    Lives from a manager's `start()` to its `stop()`. `left_at` is written by the owner's thread
    only; for the others it is a hint.

    Args:
        live: The live loop.
        seat: The current thread's.
        close: Closes the loop; for the owner's thread.
    """

    resident = True

    def __init__(self, live: LiveLoop, seat: Seat, close: Callable[[], None]) -> None:
        self.live = live
        register(self)
        self.close = close
        self._seat = seat
        self._primitives = live.primitives
        self._owner = live.primitives.current()
        self._entry = LoopEntry(live)
        self._clock = live.primitives.clock
        self.left_at: float | None = self._clock()  # when the thread left the loop; None: inside
        seat.runner = self

    # -- from any thread -----------------------------------------------------------------------

    @property
    def is_owner(self) -> bool:
        """Whether the current thread is the one that the loop lives on."""
        return self._primitives.current() == self._owner

    def begin(self, job: Job) -> None:
        """Hand in a job that this thread waits for next."""
        if self.is_owner:
            self.live.begin_now(job)
        else:
            self.live.submit(job)

    def borrow(self) -> Wakeup:
        """A wake-up for one wait of the current thread."""
        if self.is_owner:
            return LoopWakeup(self)
        return _PatientWakeup(wakeup_here() or self._primitives.wakeup(), self)

    def give_back(self, wakeup: Wakeup) -> None:
        """Nothing: each wait has one of its own."""

    def leave(self) -> None:
        """End what the owner's thread waits for in its loop. Takes no lock."""
        self.live.post(self._wind_up)

    def _wind_up(self) -> None:
        for job in self.live.in_flight():
            self.live.cancel(job)
        self.live.loop.stop()

    def join(self, timeout: float) -> None:
        """Nothing: the thread lives on without its loop."""

    def stands_still(self) -> bool:
        """Whether the owner's thread has stayed away from its loop for too long."""
        left_at = self.left_at
        return left_at is not None and self._clock() - left_at > PATIENCE

    # -- in the owner's thread -----------------------------------------------------------------

    def enter(self) -> None:
        """Run the loop until somebody stops it."""
        self.left_at = None
        try:
            self._entry.enter()
        finally:
            self.left_at = self._clock()

    def turn(self) -> None:
        """Give the loop one turn: what is ready on it runs."""
        self.live.loop.stop()
        self.enter()

    def forget(self) -> None:
        """The loop is closed: the thread waits like any other from now on."""
        if self._seat.runner is self:
            self._seat.runner = None


class LoopWakeup:
    """A wake-up for a resident thread, which runs its loop while it waits. For one wait."""

    __slots__ = ("_late", "_live", "_runner", "_set")

    def __init__(self, runner: Resident) -> None:
        self._runner = runner
        self._live = runner.live
        self._set = False
        self._late = False

    def set(self) -> None:
        """Wake the thread. From any thread; takes no lock."""
        # The flag first. A thread that looks at it before enters the loop after that, where the
        # stop then ends the next turn.
        self._set = True
        if self._runner.is_owner:
            self._live.loop.stop()
        else:
            self._live.post(self._live.loop.stop)

    def wait(self, timeout: float | None = None) -> bool:
        """Run the loop until set; False after `timeout` seconds. It may return too early."""
        if not self._set:
            if timeout is None:
                self._runner.enter()
            else:
                self._wait_until(timeout)
        late, self._late, self._set = self._late and not self._set, False, False
        return not late

    def _wait_until(self, timeout: float) -> None:
        timer = self._live.later(timeout, self._time_over)
        try:
            self._runner.enter()
        finally:
            timer.cancel()

    def _time_over(self) -> None:
        self._late = True
        self._live.loop.stop()


class _PatientWakeup:
    """A wake-up for a thread that waits for another thread's resident loop. For one wait."""

    def __init__(self, wakeup: Wakeup, runner: Resident) -> None:
        self._wakeup = wakeup
        self._runner = runner
        self.set = wakeup.set

    def wait(self, timeout: float | None = None) -> bool:
        """As the wake-up within, in parts, between which it looks at the loop.

        Raises:
            RuntimeError: The loop stands still.
        """
        if timeout is not None and timeout <= 1.0:
            return self._wakeup.wait(timeout)
        if not self._wakeup.wait(1.0) and self._runner.stands_still():
            raise RuntimeError(
                f"The loop of {self._runner.live.label} has been standing still for {PATIENCE} s: "
                "its thread does something else, or waits for this one. Use a manager with a "
                'keeper (per="process", or one that you make and start yourself).'
            )
        return True
