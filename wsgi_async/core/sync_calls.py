"""Sync functions that a coroutine has the calling thread run, while that thread waits for it.

Some sync code belongs to one thread: a database connection and its transaction, for one. A
coroutine that calls it (by asgiref's `sync_to_async`, say) gets it run on the very thread that
called the coroutine. That thread is blocked in a call of ours, so it can serve: where it drives,
it comes out of the loop for the function, with no running loop and the baton still its own;
where the keeper drives, it just wakes up for it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from .one_thread import present_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from .driver import Driver
    from .jobs import Job
    from .one_thread import Calls

__all__ = ["SyncCall", "SyncCalls", "current_calls"]

current_calls: contextvars.ContextVar[SyncCalls | None]
current_calls = contextvars.ContextVar("wsgi_async_calls", default=None)
"""Who runs the sync functions of the present coroutine, and of the tasks that it starts."""


class SyncCall:
    """One function and the future of its outcome. Lives until the coroutine has that."""

    __slots__ = ("_error", "_function", "_future", "_result")

    def __init__(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self._function = function
        self._future = future
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run the function, in the thread that serves; raises nothing."""
        # A cancelled one is not begun. One that is cancelled from now on is not interrupted.
        if self._future.cancelled():
            return
        try:
            self._result = self._function()
        except StopIteration as error:
            self._error = RuntimeError("A sync function raised StopIteration.")
            self._error.__cause__ = error
        except BaseException as error:
            self._error = error

    def cancel(self) -> None:
        """Nobody will run it. On the loop."""
        self._future.cancel()

    def deliver(self) -> None:
        """Give the coroutine the outcome. On the loop, or with its baton between two visits."""
        future, error = self._future, self._error
        if future.done():
            return
        if error is None:
            future.set_result(self._result)
        else:
            future.set_exception(error)
            if isinstance(error, (asyncio.CancelledError, TimeoutError)):
                # It mostly comes with the asker's own cancellation, or of the deadline that both
                # have. asgiref has had that then, and does not retrieve this one, which asyncio
                # would log as an error.
                future.exception()
            self._error = None  # its traceback leads here: no cycle
            del error


class SyncCalls:
    """What the waiting thread is to run for one coroutine. Lives as long as the wait.

    The queue is changed under the baton's mutex; who reads it without looks again after the wake-up
    that follows each addition. `closed` is set by the thread that serves, without the mutex.

    Args:
        driver: Whose loop the coroutine is on.
        outer: Who serves the sync code that this thread is in, if it was called so itself.
    """

    # Class attributes are the defaults, as of a job: most calls need none of it.
    job: Job | None = None  # what the thread waits for
    queue: deque[SyncCall] | tuple[()] = ()
    closed = False
    wake: Callable[[], None] | None = None
    """Called on the loop, for a thread that waits for something else than a job."""
    background: Calls | None = None
    """Of the background task's function that the thread is in, if that is asgiref's one thread."""
    end_wait: Callable[[], object] | None = None  # see begin_wait()

    def __init__(self, driver: Driver, outer: SyncCalls | None) -> None:
        self.driver = driver
        self.outer = outer
        if (background := present_calls()) is not None:
            self.background = background

    # -- on the loop ---------------------------------------------------------------------------

    def submit(
        self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[Any] | None:
        """Have the function run by the thread that waits; returns a future of its outcome.

        If that wait is over (a task that the coroutine has left behind asks), the thread's outer
        one serves. None when the thread has no such wait left.
        """
        calls: SyncCalls | None = self
        while calls is not None:
            if calls.driver.loop.raw is loop:
                future = loop.create_future()
                if calls.add(SyncCall(function, future)):
                    return future
            calls = calls.outer
        return None

    def add(self, call: SyncCall) -> bool:
        """Line up a function; False if the wait is over."""
        with self.driver.baton.mutex:
            job = self.job
            # Between two jobs of a host nobody waits, and who comes next may wait for this very
            # function by way of a task that the host has left.
            if (job is None and self.wake is None) or not self._line_up(call):
                return False
        self._tell(job)
        return True

    def _line_up(self, call: SyncCall) -> bool:
        """With the mutex: add to the queue; False if the wait is over."""
        if self.queue == ():
            self.queue = deque()
        queue = cast("deque[SyncCall]", self.queue)
        queue.append(call)
        # In this order, as who closes says so first and then looks at the queue: one of the two
        # sees the other, and it is taken back before anybody can have it.
        if self.closed:
            queue.remove(call)
            return False
        return True

    def _tell(self, job: Job | None) -> None:
        """Wake the thread for what is in the queue now."""
        if self.wake is not None:
            self.wake()
        if job is not None:
            self.driver.call_for(job)

    def add_background(self, job: Job | None) -> None:
        """On the loop: line up what `background` has to run; see `begin_wait()`."""
        run = cast("Calls", self.background).run_waiting
        call = SyncCall(run, self.driver.loop.raw.create_future())
        with self.driver.baton.mutex:
            if not self._line_up(call):
                return
        self._tell(job)

    # -- in the thread that serves -----------------------------------------------------------------

    def begin_wait(self, job: Job | None) -> Callable[[], object] | None:
        """While the thread waits, have it run what `background` has to run too.

        Args:
            job: What it waits for; None if `wake` wakes it.

        Returns:
            To be called after the wait. None where there is nothing to do: a host may have gone to
            another thread than it was made on.
        """
        background = self.background
        if background is None or present_calls() is not background:
            return None
        wake = partial(self.driver.post, self.add_background, job)
        return partial(background.wake_by, background.wake_by(wake))

    def serve(self) -> None:
        """Run what waits, without the baton; the outcomes go to the loop."""
        while self.queue:
            self.serve_next()

    def serve_next(self) -> None:
        """Run one function, without the baton; its outcome goes to the loop."""
        call = self._next()
        if call is not None:
            call.run()
            self.driver.post(call.deliver)

    def serve_one(self) -> Callable[[], None]:
        """Run one function; the returned function gives its outcome to the loop."""
        call = self._next()
        if call is None:
            return _nothing
        call.run()
        return call.deliver

    def _next(self) -> SyncCall | None:
        with self.driver.baton.mutex:
            return self.queue.popleft() if self.queue else None

    def abandon(self) -> None:
        """On the loop: nobody will come any more."""
        self.closed = True
        self.wake = None  # which leads here: no cycle
        while (call := self._next()) is not None:
            call.cancel()

    def close(self) -> None:
        """The thread goes on: run what came until now, and take nothing more."""
        self.closed = True
        self.job = None  # which leads here: no cycle
        if self.end_wait is not None:
            self.end_wait()
            self.end_wait = None
        if self.queue:
            self.serve()


def _nothing() -> None:
    pass
