"""A resident loop: it lives on the worker thread that uses it.

A thread without work waits inside its loop. A `run()` on that thread enters the loop until the
task is done, without a switch to another thread. Background tasks run while the thread waits.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from wsgi_async.core.base.checks import inherited_error
from wsgi_async.core.loops.entering import LoopEntry
from wsgi_async.core.messages.errors import ManagerStateError

from .alarm import Alarm
from .runner import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_async.core.base.primitives import Primitives, Wakeup
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.loops.live_loop import LiveLoop

__all__ = [
    "PATIENCE",
    "LoopWakeup",
    "Resident",
    "Seat",
    "current_seat",
    "forget_seat",
    "has_free_seat",
    "resident_here",
    "take_seat",
    "wakeup_here",
]

PATIENCE = 5.0
"""Seconds that a thread waits for a loop whose own thread does not enter it."""

_LOOKS = 10
"""How often it checks the loop in that time."""

_BLIND_TURNS = 3
"""See `WatchedSelector`. With eight threads on two cores this gave 10 % more requests."""


class Seat:
    """The place for one resident loop on a thread that can wait in it. Lives as long as the thread.

    For that thread only.
    """

    runner: Resident | None = None


class _Here(threading.local):
    seat: Seat | None = None


_here = _Here()


def take_seat() -> Seat:
    """Let the loop of the first manager that the current thread starts live on this thread."""
    seat = _here.seat = Seat()
    return seat


def current_seat() -> Seat | None:
    """The current thread's seat, if it has one."""
    return _here.seat


def forget_seat() -> None:
    """In a forked child: the current thread has no loop, since its loop is the parent's."""
    seat = _here.seat
    if seat is not None and seat.runner is not None:
        seat.runner.forget()
    _here.seat = None


def has_free_seat() -> bool:
    """Whether a loop can live on the current thread."""
    return _here.seat is not None and _here.seat.runner is None


def resident_here() -> Resident | None:
    """The runner of the loop that lives on the current thread, if there is one."""
    seat = _here.seat
    return None if seat is None else seat.runner


def wakeup_here(primitives: Primitives) -> Wakeup:
    """A wake-up for one wait of the current thread, in the loop that lives on it, if any."""
    runner = resident_here()
    return primitives.wakeup() if runner is None else runner.wakeup()


class Resident(LoopEntry):
    """Runs one loop on the thread that it is made on, whenever that thread waits.

    Lives from a manager's `start()` to its `stop()`.

    Args:
        live: The live loop.
        seat: The current thread's seat.
        close: Closes the loop; for the owner's thread.
    """

    # Never changes:
    kind = "resident"
    resident = True

    def __init__(self, live: LiveLoop, seat: Seat, close: Callable[[], None]) -> None:
        super().__init__(live)
        register(self)
        # Never changes:
        self.close = close
        self._seat = seat
        self._primitives = live.primitives
        self.current = live.primitives.current
        self.owner = self.current()
        # One thread, the owner's:
        self.alarm = Alarm(live)
        self.waits = 0  # how many waits it is in, one inside another
        self.gone = False  # the loop is closed, or the parent process's
        seat.runner = self
        live.wake_with = self._call_soon
        if live.selector is not None:  # many threads have such a loop, and compete for the GIL
            live.selector.blind_turns = _BLIND_TURNS

    # -- from any thread -----------------------------------------------------------------------

    @property
    def is_owner(self) -> bool:
        """Whether the current thread is the one that the loop lives on."""
        return self.current() == self.owner

    def _call_soon(self, callback: Callable[..., object], *args: object, **context: Any) -> None:
        """Call a function on the loop. Its own thread need not wake it between two runs."""
        # During a run it must: a destructor may run after the loop's check and before its sleep.
        if self.current() == self.owner and not self.inside:
            self.live.raw.call_soon(callback, *args, **context)
        else:
            self.live.loop.call_soon_threadsafe(callback, *args, **context)

    def begin(self, job: Job) -> None:
        """Submit a job that this thread waits for next."""
        if self.current() == self.owner:
            self.live.begin_now(job)
        else:
            self.live.submit(job)

    def wakeup(self) -> Wakeup:
        """A wake-up for one wait of the current thread."""
        if self.current() != self.owner:
            return _PatientWakeup(wakeup_here(self._primitives), self)
        self.waits += 1
        return LoopWakeup(self)

    def leave(self) -> None:
        """End all work that the owner's thread waits for in its loop. Takes no lock."""
        self.live.post(self._wind_up)

    def _wind_up(self) -> None:
        self.live.wind_up()
        self.live.loop.stop()

    def join(self, timeout: float) -> None:
        """Do nothing: the thread lives on without its loop."""

    # -- in the owner's thread -----------------------------------------------------------------

    def turn(self) -> None:
        """Give the loop one turn, in which everything runs that is ready."""
        self.live.loop.stop()
        self.enter_again()

    def forget(self) -> None:
        """The loop is closed: from now on the thread waits like any other thread."""
        self.gone = True
        if self._seat.runner is self:  # pragma: no branch - or the next manager has the seat
            self._seat.runner = None


class LoopWakeup:
    """A wake-up for a resident thread, which runs its loop while it waits. For one wait."""

    # No lock: set before the loop is stopped, and read before the loop is entered.
    _set = False
    # No lock: written before that flag is read, and read after that flag is set.
    _outside: Wakeup | None = None  # what the thread waits with when its loop is closed
    # One thread, the owner's:
    _late = False

    def __init__(self, runner: Resident) -> None:
        # Never changes:
        self.runner = runner
        self._live = runner.live

    def set(self) -> None:
        """Wake the thread. From any thread; takes no lock."""
        # Set the flag first. A thread that has read it before enters the loop afterwards, and
        # the stop then ends the next turn.
        self._set = True
        if self._outside is not None:
            self._outside.set()
        elif self.runner.current() == self.runner.owner:
            self._live.loop.stop()
        else:
            self._live.post(self._live.loop.stop)

    def end(self) -> None:
        """As the protocol says. If the manager is being stopped, close the loop."""
        runner = self.runner
        runner.waits -= 1
        # Only when all waits are over: a coroutine may ask for this thread in its cleanup.
        if self._live.closing and not (runner.waits or runner.gone):
            runner.close()

    def nudge(self) -> None:
        """As `set()`. But on the loop itself, other tasks first run until they have to wait.

        A request that one of them sends is then under way while the thread does something else.
        """
        if self.runner.current() == self.runner.owner:
            self._live.leave_soon()
        else:
            self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Run the loop until set; False after `timeout` seconds. It may return too early."""
        if self.runner.gone:
            return self._wait_outside(timeout)
        if timeout is not None and not self._set:
            return self._wait_until(timeout)
        if not self._set:
            self.runner.enter()
        self._set = False
        return True

    def rest(self) -> None:
        """As `wait()`, for an idle thread, which continues after an exception leaves the loop."""
        if not (self._set or self.runner.gone):
            self.runner.enter_again()
        self._set = False

    def _wait_until(self, timeout: float) -> bool:
        self._late = False
        self.runner.alarm.set(timeout, self._time_over)
        try:
            self.runner.enter()
        finally:
            self.runner.alarm.clear()
        done, self._set = self._set, False
        return done or not self._late

    def _wait_outside(self, timeout: float | None) -> bool:
        """Wait without the loop: a function that ran during this wait has stopped the manager."""
        if self._live.inherited:  # pragma: no cover - a signal handler or destructor has forked
            raise inherited_error(self._live.label)
        outside = self._outside = self._live.primitives.wakeup()
        woken = self._set or outside.wait(timeout)
        self._set = False
        return woken

    def _time_over(self) -> None:
        self._late = True
        self._live.loop.stop()


class _PatientWakeup:
    """A wake-up for a thread that waits for another thread's resident loop. For one wait."""

    def __init__(self, wakeup: Wakeup, runner: Resident) -> None:
        self._wakeup = wakeup
        self._runner = runner
        self._entries = runner.entries  # when its thread was last seen to enter it
        self._still = 0.0  # about the seconds since then
        self._patience = PATIENCE
        self._slice = PATIENCE / _LOOKS
        self.set = wakeup.set
        self.nudge = wakeup.nudge
        self.end = wakeup.end

    def wait(self, timeout: float | None = None) -> bool:
        """As the inner wake-up, but in slices, with a check of the loop after each.

        Raises:
            RuntimeError: The loop stands still.
        """
        if timeout is not None and timeout <= self._slice:
            return self._wakeup.wait(timeout)
        if not self._wakeup.wait(self._slice):
            self._look()
        return True

    def _look(self) -> None:
        runner = self._runner
        if runner.inside or runner.entries != self._entries:
            self._entries, self._still = runner.entries, 0.0
            return
        self._still += self._slice
        if self._still >= self._patience:
            self._still = -math.inf  # once only: the wait for the cleanup is not disturbed
            raise ManagerStateError(
                f"The loop of {runner.live.label} has been standing still for {self._patience} s: "
                "its thread does something else, or waits for this one. Use a manager with a "
                'thread of its own (per="process", or one that you make and start yourself).'
            )
