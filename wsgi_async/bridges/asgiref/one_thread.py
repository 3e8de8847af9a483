"""asgiref's one thread, for the sync functions of background tasks.

No thread waits for those tasks, so there is none that could run what they call; asgiref has one for
all such cases. A function there may itself submit a task and wait for it, or call a coroutine that
does, and that task may call sync functions too. They belong to the same thread, which would wait
for itself: so it runs them while it waits, for a future or for a coroutine. Those of other tasks it
does not, as the function may be in a transaction.
"""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["Calls", "Waited", "present_calls", "submit_for", "submit_to"]

T = TypeVar("T")

submit_for: contextvars.ContextVar[Calls | None]
submit_for = contextvars.ContextVar("wsgi_async_submit_for", default=None)
"""For the present task: where the function that has submitted it lets it line up calls, if that
runs on asgiref's thread."""


class _Present(threading.local):
    calls: Calls | None = None


_present = _Present()


class Waited(Protocol):
    """What `Calls.serve()` needs of a future."""

    def done(self) -> bool:
        """Whether there is an outcome."""
        ...

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None:
        """Call a function when there is one, or now."""


def present_calls() -> Calls | None:
    """Where others line up calls for the function that this thread runs; None if it is no such one.

    It is one only on asgiref's thread, in what a background task has called.
    """
    return _present.calls


def submit_to(
    executor: Executor, function: Callable[[], T], background: Calls | None = None
) -> Future[T]:
    """Have a function of the present task run on asgiref's thread.

    Args:
        executor: That thread.
        function: The function.
        background: Of the function there whose coroutine has left the present task behind.
    """
    calls = submit_for.get() if background is None else background
    if calls is not None:
        call = _Call(function)
        if calls.add(call):
            return call.future
    return executor.submit(_run, executor, function)


def _run(executor: Executor, function: Callable[[], T]) -> T:
    """In that thread: run a function, which may submit tasks and wait for them."""
    before, _present.calls = _present.calls, Calls(executor)
    try:
        return function()
    finally:
        _present.calls.end()
        _present.calls = before


class _Call:
    """One function, lined up for another that may wait for it. Lives until it has run."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.future: Future[Any] = Future()

    def run(self, executor: Executor) -> None:
        """Run it, in asgiref's thread; raises nothing."""
        future = self.future
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(_run(executor, self._function))
        except BaseException as error:
            future.set_exception(error)
        finally:
            del self, future  # the traceback of the exception holds this frame: no cycle


class Calls:
    """What one function on asgiref's thread runs while it waits. Lives as long as the function.

    Args:
        executor: That thread, for what is left when the function has ended.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        # Can be taken again by its thread: a destructor may cancel what the function waits for.
        # Guards the three below.
        self._mutex = threading.RLock()
        self._queue: deque[_Call] = deque()
        self._wake: Callable[[], None] | None = None  # ends its innermost wait, for a look
        self._ended = False
        # Which end the wait when they are done; only for the function's thread.
        self._waited: weakref.WeakSet[Waited] = weakref.WeakSet()

    def add(self, call: _Call) -> bool:
        """Line up a call; False if the function has ended. From any thread."""
        with self._mutex:
            if self._ended:
                return False
            self._queue.append(call)
        self._look()
        return True

    def serve(self, future: Waited, left: Callable[[], float | None]) -> None:
        """Run what comes until a future is done, or no time is left. Only in that thread.

        Args:
            future: What the function waits for.
            left: Tells how many seconds are left; None without a limit.
        """
        event = threading.Event()
        if future not in self._waited:  # the function may poll it
            self._waited.add(future)
            future.add_done_callback(self._look)
        before = self.wake_by(event.set)
        try:
            while not future.done():
                event.clear()
                # Looked at after we can be woken, so what comes after the look wakes us. With the
                # time over no more of them: they may come without end.
                seconds = left()
                call = None if seconds == 0 else self._next()
                if call is not None:
                    call.run(self._executor)
                elif not (future.done() or event.wait(seconds)):
                    break
        finally:
            self.wake_by(before)

    def _look(self, _: object = None) -> None:
        with self._mutex:
            wake = self._wake
        if wake is not None:
            wake()

    def wake_by(self, wake: Callable[[], None] | None) -> Callable[[], None] | None:
        """The function begins to wait, or ends it: have this called when there is something to run.

        Returns:
            What was called until now, for an outer wait; to be put back after this one.
        """
        with self._mutex:
            before, self._wake = self._wake, wake
            # Or what an outer wait is for may have come in an inner one.
            due = self._queue or before is not None
        if due and wake is not None:
            wake()
        return before

    def run_waiting(self) -> None:
        """Run what has come. In any other thread than the function's, nothing."""
        if _present.calls is not self:
            return
        while (call := self._next()) is not None:
            call.run(self._executor)

    def _next(self) -> _Call | None:
        with self._mutex:
            return self._queue.popleft() if self._queue else None

    def end(self) -> None:
        """The function is over: what is left runs after it."""
        with self._mutex:
            self._ended = True
        while (call := self._next()) is not None:
            try:
                self._executor.submit(call.run, self._executor)
            except RuntimeError as error:  # the process ends
                if call.future.set_running_or_notify_cancel():
                    call.future.set_exception(error)
