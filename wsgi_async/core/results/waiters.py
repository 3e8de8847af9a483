"""`concurrent.futures.wait()` and `as_completed()` on a thread that a loop lives on."""

from __future__ import annotations

from typing import Any

from wsgi_async.core.base.checks import running_loop
from wsgi_async.core.base.deadlines import Deadline
from wsgi_async.core.jobs.wait import wait_for
from wsgi_async.core.runners.resident import LoopWakeup, resident_here

__all__ = ["Waiters"]


class Waiters(list[Any]):
    """Whom a future tells that it is done, beside its callbacks. Lives as long as the future.

    The two functions add a waiter to each future, and block on its event. On a resident thread
    that would keep the loop from turning that is to bring the outcome, so the waiter gets an event
    there that runs the loop. They hold the locks of all futures meanwhile: nobody sets the event.
    """

    def append(self, waiter: Any) -> None:
        """As the base class."""
        # In a coroutine it blocks the loop, as such a wait always does there.
        runner = resident_here() if running_loop() is None else None
        if runner is not None and not isinstance(waiter.event, _LoopEvent):
            waiter.event = _LoopEvent(LoopWakeup(runner))
        super().append(waiter)


class _LoopEvent:
    """What a waiter needs of a `threading.Event`, for a resident thread. For one wait.

    Args:
        wakeup: The thread's.
    """

    inbox = None

    def __init__(self, wakeup: LoopWakeup) -> None:
        # Never changes:
        self._wakeup = wakeup
        # No lock: set before the thread is woken, which looks again.
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
