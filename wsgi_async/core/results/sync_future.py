"""The future that a thread can wait for: what `submit_task()` returns."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from typing import TYPE_CHECKING, Any, TypeVar, cast

from wsgi_async.core.base.checks import inherited_error, refuse_in_event_loop
from wsgi_async.core.base.coroutines import need_stack
from wsgi_async.core.base.deadlines import Deadline, bounded, within
from wsgi_async.core.base.log import report, with_origin
from wsgi_async.core.base.primitives import Condition
from wsgi_async.core.base.settings import primitives
from wsgi_async.core.jobs.wait import wait_for
from wsgi_async.core.messages.errors import WaitTimeoutError
from wsgi_async.core.runners.guest import Guest
from wsgi_async.core.runners.resident import wakeup_here

from .waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextvars import Context

    from wsgi_async.core.base.primitives import Wakeup
    from wsgi_async.core.jobs.inbox import Inbox
    from wsgi_async.core.jobs.job import Job
    from wsgi_async.core.runners.runner import Runner

__all__ = ["SyncFuture"]

T = TypeVar("T")


class SyncFuture(concurrent.futures.Future[T]):
    """The result of a submitted task, for a thread that waits for it.

    It is a `concurrent.futures.Future`: `concurrent.futures.wait()`, `as_completed()` and
    `asyncio.wrap_future()` take it, and a coroutine can `await` it. You get one from
    `submit_task()`, or make one and fill it with `set_result()` or `set_exception()`.  All methods
    may be called from any thread.

    It differs from its base class as follows:

    - `cancel()` asks for the cancellation of the task. `cancelled()` is true once the task has
      ended that way, after its cleanup.
    - No wait continues after the request's deadline, or when the manager is stopped.
    - An exception that nobody retrieves is logged.
    """

    # Class attributes are the defaults.
    # Never changes once the job is submitted:
    _name = ""
    # No lock: set before that, and removed by the one thread that settles the future.
    _runner: Runner | None = None
    _job: Job | None = None
    # No lock: written before the future is done, and removed by a thread that retrieves it later.
    _unretrieved: tuple[BaseException, Context] | None = None  # and the context of its task

    def __init__(self) -> None:
        super().__init__()
        # Never changes:
        self._condition = cast("Any", _Blocked())
        # Never changes; the base class guards its contents.
        self._waiters = cast("Any", Waiters())  # the type is private to the standard library

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text[:-1]} of {self._name}>" if self._name else text

    def attach(self, runner: Runner, job: Job) -> None:
        """Connect the future to a job. For the manager; once, before the job is submitted."""
        self._runner, self._job, self._name = runner, job, job.name
        job.future = self

    def __del__(self) -> None:
        if self._unretrieved is None:
            return
        error, context = self._unretrieved
        # This may be a thread of another request, whose variables must not get into this record.
        context.copy().run(
            report,
            logging.ERROR,
            "The exception of the submitted task %s was never retrieved",
            with_origin(self._name, context),
            error=error,
        )

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()

    # -- asking --------------------------------------------------------------------------------
    # An exception's traceback holds the frame of result(). If the loop runs on this thread, the
    # coroutine's frames refer to all the frames that called it: none of them may refer back.

    def running(self) -> bool:
        """Whether the task has begun and is not done."""
        job = self._job
        return super().running() if job is None else job.task is not None and not self.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the outcome; return the result or raise what the coroutine raised.

        Args:
            timeout: Seconds to wait. `None` waits until the request's deadline, or forever if
                there is none. The task continues after a timeout.

        Raises:
            TimeoutError: The time has passed.
            concurrent.futures.CancelledError: The task was canceled.
            RuntimeError: The manager was stopped, the process was forked, or this thread is
                running an event loop, or is the only one that runs the task's loop.
        """
        try:
            self._wait_or_raise(timeout)
            return super().result(0)
        finally:
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the outcome and return the exception, `None` if there is a result.

        Arguments and errors are those of `result()`.
        """
        try:
            self._wait_or_raise(timeout)
            return super().exception(0)
        finally:
            del self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is an outcome; `False` after `timeout` seconds, or at the deadline.

        Raises:
            RuntimeError: The process was forked, or this thread is running an event loop, or is the
                only one that runs the task's loop.
        """
        self._refuse_in_child()
        try:
            return self.done() or self._wait(bounded(timeout))
        finally:
            del self

    def _get_snapshot(self) -> Any:  # pragma: no cover - Python 3.15 only
        # From Python 3.15 on, asyncio.wrap_future() calls this instead of exception().
        self._unretrieved = None
        return super()._get_snapshot()  # type: ignore[misc] # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]

    def _wait_or_raise(self, timeout: float | None) -> None:
        self._refuse_in_child()
        if not self.done():
            seconds = bounded(timeout)
            if not self._wait(seconds):
                raise WaitTimeoutError(
                    f"There was no result {within(timeout, seconds)}. "
                    "The task continues: wait again, or cancel() it."
                )
        self._unretrieved = None
        del self

    def _wait(self, timeout: float | None) -> bool:
        self._check()
        runner = self._runner
        if isinstance(runner, Guest):
            runner.check_wait()
        wakeup = wakeup_here(primitives) if runner is None else runner.wakeup()
        blocked = cast("_Blocked", self._condition).wakeups
        blocked.append(wakeup)
        outcome = _Outcome(self)
        del self
        try:
            return wait_for(outcome, wakeup, None if timeout is None else Deadline(timeout))
        finally:
            outcome.forget()
            blocked.remove(wakeup)
            wakeup.end()

    def _check(self) -> None:
        """Raise if this thread cannot wait for the future."""
        need_stack()
        refuse_in_event_loop("await this future")

    def _refuse_in_child(self) -> None:
        """Raise in a forked child, where the future will never be done."""
        # Before its state is read: another thread may have held the lock around it at the fork.
        runner = self._runner  # read once: the loop removes it when there is an outcome
        if runner is not None and runner.live.inherited:
            raise inherited_error(runner.live.label)

    # -- ending --------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Ask for the cancellation; `False` if there is a result or an exception already.

        The coroutine can clean up first, or ignore the cancellation. `cancelled()` tells you
        whether it was canceled.

        Raises:
            RuntimeError: The process was forked.
        """
        self._refuse_in_child()
        runner, job = self._runner, self._job
        if runner is None or job is None:
            return super().cancel()
        if not self.done():
            runner.live.request_cancel(job)
            return True
        return self.cancelled()

    def waited_for(self, job: Job) -> bool:  # noqa: ARG002 - a future has one job
        """Whether a thread waits for the outcome right now. From any thread; takes no lock."""
        return bool(cast("_Blocked", self._condition).wakeups)

    def settle(self, job: Job) -> None:
        """Take over the outcome of its job. For the loop."""
        try:
            if job.cancelled:
                try:
                    super().cancel()
                finally:
                    if self.cancelled():  # and not filled by hand
                        self.set_running_or_notify_cancel()  # tells concurrent.futures.wait()
            elif job.exception is None:
                self.set_result(job.result)
            else:
                if not job.stopped:
                    self._unretrieved = job.exception, job.context
                self.set_exception(job.exception)
        except concurrent.futures.InvalidStateError:
            self._unretrieved = None  # the user has filled the future by hand
        except BaseException as error:
            # It comes from a callback, or from the user's logging of a callback's failure. The
            # loop's thread continues, to settle other futures.
            report(logging.ERROR, "A done callback of %r failed", self, error=error)
        finally:
            # Only after the future is done: a cancel() that finds no job would cancel the future
            # itself, and the outcome would be lost.
            self._runner = self._job = None
            cast("_Blocked", self._condition).wake_all()  # a signal handler may have raised above


class _Blocked(Condition):
    """A future's condition. It also wakes the threads that block in `SyncFuture._wait()`.

    The future's base class calls `notify_all()` when there is an outcome, and the done callbacks
    after that. So a callback can wait for one of these threads. Lives as long as the future.
    """

    def __init__(self) -> None:
        super().__init__()
        # No lock: a thread appends its wake-up before it checks whether the future is done, and the
        # list is read after the future is done. So either the check or the reader sees the other.
        self.wakeups: list[Wakeup] = []

    def notify_all(self) -> None:
        """Wake all threads. Called on the thread that sets the outcome, which holds the lock."""
        try:
            super().notify_all()
        finally:  # a signal handler may raise in there
            self.wake_all()

    def wake_all(self) -> None:
        """Wake the threads again, which does no harm."""
        for wakeup in list(self.wakeups):
            wakeup.set()


class _Outcome:
    """What a thread that waits for a future passes to `wait_for()`. Lives as long as the wait."""

    inbox: Inbox | None = None

    def __init__(self, future: concurrent.futures.Future[Any]) -> None:
        self._future: concurrent.futures.Future[Any] | None = future

    @property
    def done(self) -> bool:
        return self._future is None or self._future.done()

    def forget(self) -> None:
        """The wait is over: drop the future."""
        self._future = None
