"""`concurrent.futures.wait()` and `as_completed()` on a thread that a loop lives on."""

from __future__ import annotations

from typing import Any

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.jobs.wait import wait_for
from wsgi_async.core.runners.resident import LoopWakeup, resident_here

__all__ = ["Waiters"]


class Waiters(list[Any]):
    """A future's waiters: told that it is done, beside its callbacks. Lives as long as the future.

    The two functions add a waiter to each future, and block on the waiter's event. On a resident
    thread that would stop the loop that has to bring the outcome. So there the waiter gets an
    event that runs the loop. The two functions hold the locks of all futures at that moment, so no
    thread sets the event meanwhile.
    """

    def append(self, waiter: Any) -> None:
        """As the base class."""
        # In a coroutine, such a wait blocks the loop, as it always does there.
        runner = resident_here() if running_loop() is None else None
        if runner is not None and not isinstance(waiter.event, _LoopEvent):
            waiter.event = _LoopEvent(LoopWakeup(runner))
        super().append(waiter)


class _LoopEvent:
    """The parts of `threading.Event` that a waiter uses, for a resident thread. For one wait.

    Args:
        wakeup: The thread's wake-up.
    """

    inbox = None

    def __init__(self, wakeup: LoopWakeup) -> None:
        # Never changes:
        self._wakeup = wakeup
        # No lock: set before the thread is woken, and read again by the woken thread.
        self.done = False

    def set(self) -> None:
        self.done = True
        self._wakeup.set()

    def clear(self) -> None:
        self.done = False

    def wait(self, timeout: float | None = None) -> bool:
        self._wakeup.runner.waits += 1  # here, as not each event that is made is waited for
        try:
            return wait_for(self, self._wakeup, None if timeout is None else Deadline(timeout))
        finally:
            self._wakeup.end()
