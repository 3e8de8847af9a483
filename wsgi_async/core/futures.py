"""Futures for threads: what `submit_task()` returns, and a wrapper for others' futures."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .checks import check_timeout, refuse_in_event_loop, refuse_inherited
from .deadlines import bounded, deadline, within
from .log import logger
from .one_thread import present_calls
from .seam import Seam

if TYPE_CHECKING:
    from .driver import Driver
    from .jobs import Job
    from .seam import Signal

__all__ = ["DrivenFuture", "SyncFuture", "TaskFuture"]

T = TypeVar("T")

_seam = Seam()


def _limit(timeout: float | None) -> float | None:
    if timeout is None and deadline.get() is None:
        return None
    return bounded(check_timeout(timeout))


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - _seam.clock())


class _Unretrieved:
    """Logs an exception that nobody has asked for, once, when its future is collected."""

    __slots__ = ()

    def _log(self, exception: BaseException) -> None:
        logger.error("The exception of a submitted task was never retrieved", exc_info=exception)


class SyncFuture(_Unretrieved, Generic[T]):
    """A result that a thread can wait for, and that is driven by the thread that waits.

    Comes from `submit_task(coro, return_sync_future=True)`, where waiting for it on the
    manager's own thread runs the coroutine right there (see `AsyncioLoopManager`). Or it is made
    by hand and filled with `set_result()` or `set_exception()`. Lives as long as somebody holds
    it. All methods may be called from any thread and mean what they mean for
    `concurrent.futures.Future`.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_cancelled",
        "_done",
        "_exception",
        "_mutex",
        "_result",
        "_unretrieved",
        "_waiters",
    )

    def __init__(self) -> None:
        # Can be taken again by its thread: a destructor may come here in the middle of it.
        # Guards all below. `_done` is set last and never unset, so it may be read without.
        self._mutex = threading.RLock()
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._unretrieved = False
        self._waiters: list[Signal] = []
        self._callbacks: list[Callable[[SyncFuture[T]], object]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state()} at {id(self):#x}>"

    def _state(self) -> str:
        if not self._done:
            return "pending"
        if self._cancelled:
            return "cancelled"
        return f"raised {type(self._exception).__name__}" if self._exception else "finished"

    def __del__(self) -> None:
        # A signal handler may have raised before __init__ got anywhere.
        if getattr(self, "_unretrieved", False) and self._exception is not None:
            self._log(self._exception)

    # -- asking --------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether there is an outcome: a result, an exception, or the cancellation."""
        return self._done

    def cancelled(self) -> bool:
        """Whether the task has ended by being cancelled. False while that is only requested."""
        return self._cancelled

    def result(self, timeout: float | None = None) -> T:
        """Wait for the outcome and return the result, or raise what the coroutine raised.

        Args:
            timeout: How long to wait, in seconds; for ever with None, but never past the
                request's deadline. The task goes on after it.

        Raises:
            TimeoutError: The time was over first.
            concurrent.futures.CancelledError: The task was cancelled.
            RuntimeError: The manager was stopped, the process was forked, or this thread runs
                an event loop.
        """
        exception = self.exception(timeout)
        if exception is None:
            return self._result  # type: ignore[no-any-return]
        try:
            raise exception
        finally:
            # The traceback holds this frame, and the frame must not hold the exception.
            del exception, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the outcome and return the exception, None if there is a result.

        Args and errors are those of `result()`.
        """
        if not self._done:
            seconds = _limit(timeout)
            if not self._wait(seconds):
                raise TimeoutError(
                    f"There was no result {within(timeout, seconds)}. "
                    "Wait again: the task goes on; or cancel() it."
                )
        if self._cancelled:
            raise concurrent.futures.CancelledError
        self._unretrieved = False
        return self._exception

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is an outcome; False after `timeout` seconds, or at the deadline.

        Raises:
            RuntimeError: The process was forked, or this thread runs an event loop.
        """
        return self._done or self._wait(_limit(timeout))

    def _wait(self, timeout: float | None) -> bool:
        refuse_in_event_loop("asyncio.wrap_future() makes submit_task()'s default future awaitable")
        until = None if timeout is None else _seam.clock() + timeout
        self._help(timeout)
        if (calls := present_calls()) is not None:
            calls.serve(self, partial(_left, until))
        # Looked at again: help may have brought the outcome.
        return self.done() or self._block(until)

    def _help(self, timeout: float | None) -> None:
        """Do something for the outcome while waiting; nothing where it is filled by hand."""

    def _block(self, until: float | None) -> bool:
        signal = _seam.borrow()
        try:
            with self._mutex:
                if not self._done:
                    self._waiters.append(signal)
            while not self._done:
                if not signal.wait(_left(until)):
                    break
            return self._done
        finally:
            with self._mutex:
                if signal in self._waiters:
                    self._waiters.remove(signal)
            _seam.give_back(signal)

    def add_done_callback(self, fn: Callable[[SyncFuture[T]], object]) -> None:
        """Call `fn(future)` when there is an outcome, or now if there is one.

        It is called in the thread that brings the outcome; what it raises is logged.
        """
        with self._mutex:
            if not self._done:
                self._callbacks.append(fn)
                return
        self._call(fn)

    def _call(self, fn: Callable[[SyncFuture[T]], object]) -> None:
        try:
            fn(self)
        except Exception:
            logger.exception("A done callback of %r failed", self)

    # -- ending --------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Ask for the cancellation; False if there is a result or an exception already.

        The coroutine may clean up first, or refuse: `cancelled()` tells how it ended.
        """
        with self._mutex:
            if self._done:
                return self._cancelled
        self._ask_to_cancel()
        return True

    def _ask_to_cancel(self) -> None:
        """Have the source cancelled; by hand there is none, so that is the outcome."""
        self._settle(cancelled=True)

    def set_result(self, result: T) -> None:
        """Fill a future made by hand.

        Raises:
            concurrent.futures.InvalidStateError: There is an outcome already.
        """
        if not self._settle(result):
            raise concurrent.futures.InvalidStateError(f"{self!r} has its outcome already.")

    def set_exception(self, exception: BaseException) -> None:
        """Fill a future made by hand with an exception.

        Raises:
            concurrent.futures.InvalidStateError: There is an outcome already.
        """
        if not self._settle(exception=exception):
            raise concurrent.futures.InvalidStateError(f"{self!r} has its outcome already.")

    def _settle(
        self,
        result: Any = None,
        *,
        exception: BaseException | None = None,
        cancelled: bool = False,
        log: bool = False,
    ) -> bool:
        with self._mutex:
            if self._done:
                return False
            self._result, self._exception, self._cancelled = result, exception, cancelled
            self._unretrieved = log
            waiters, self._waiters = self._waiters, []
            callbacks, self._callbacks = self._callbacks, []
            self._done = True
        for signal in waiters:
            signal.set()
        for fn in callbacks:
            self._call(fn)
        return True


class DrivenFuture(SyncFuture[T]):
    """The `SyncFuture` of a submitted task: a thread that waits for it may drive the loop."""

    __slots__ = ("_driver", "_job")

    def __init__(self, driver: Driver, job: Job) -> None:
        super().__init__()
        # Both until there is an outcome: no cycle of job and future stays behind.
        self._driver: Driver | None = driver
        self._job: Job | None = job

    def _help(self, timeout: float | None) -> None:
        driver, job = self._driver, self._job
        if driver is not None and job is not None:
            refuse_inherited(driver)
            driver.caller.help(job, timeout)

    def _ask_to_cancel(self) -> None:
        driver, job = self._driver, self._job
        if driver is not None and job is not None:
            driver.request_cancel(job)

    def settle(self, job: Job) -> None:
        """Take over the outcome of our job. For the driver."""
        self._driver = self._job = None
        if job.cancelled:
            self._settle(cancelled=True)
        else:
            log = job.exception is not None and not job.stopped
            self._settle(job.result, exception=job.exception, log=log)


class TaskFuture(_Unretrieved, concurrent.futures.Future[T]):
    """The `concurrent.futures.Future` of a submitted task.

    Works with `concurrent.futures.wait`, `as_completed` and `asyncio.wrap_future`. Cancelling it
    cancels the task, and counts at once, as with `asyncio.run_coroutine_threadsafe`. Lives as
    long as somebody holds it; callable from any thread.
    """

    def __init__(self, driver: Driver, job: Job) -> None:
        super().__init__()
        self._driver: Driver | None = driver
        self._job: Job | None = job
        self._unretrieved: BaseException | None = None

    def __del__(self) -> None:
        # A signal handler may have raised before __init__ got anywhere.
        if (error := getattr(self, "_unretrieved", None)) is not None:
            self._log(error)

    def result(self, timeout: float | None = None) -> T:
        """As the base class, but never past the request's deadline.

        Raises:
            RuntimeError: The process was forked, or this thread runs an event loop.
        """
        self._check()
        seconds = bounded(timeout)
        try:
            return super().result(self._help(seconds))
        except TimeoutError:
            self._explain(timeout, seconds)
            raise
        finally:
            self._retrieve()
            del self  # the exception's traceback holds this frame: no cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As the base class; errors as `result()`."""
        self._check()
        seconds = bounded(timeout)
        try:
            return super().exception(self._help(seconds))
        except TimeoutError:
            self._explain(timeout, seconds)
            raise
        finally:
            self._retrieve()

    def _help(self, seconds: float | None) -> float | None:
        """Do what nobody else would, in sync code that this thread runs for a coroutine.

        The driver drives, or else the keeper would have to take the loop over; asgiref's thread
        runs the sync functions of the task.

        Returns:
            How long to wait after that, in seconds.
        """
        driver, job = self._driver, self._job
        if driver is None or job is None:
            return seconds
        drives = driver.baton.holder == driver.seam.current()
        calls = present_calls()
        if not drives and calls is None:
            return seconds
        until = None if seconds is None else _seam.clock() + seconds
        if drives:
            driver.caller.help(job, seconds)
        if calls is not None:
            calls.serve(self, partial(_left, until))
        return _left(until)

    def _explain(self, timeout: float | None, seconds: float | None) -> None:
        # Not where the TimeoutError is the task's own, nor where the base class says it all.
        if seconds != timeout and not self.done():
            raise TimeoutError(
                f"There was no result {within(timeout, seconds)}. "
                "The task goes on; cancel() it if it must not."
            ) from None

    def _retrieve(self) -> None:
        if self.done():
            self._unretrieved = None

    def _check(self) -> None:
        driver = self._driver
        if driver is not None and not self.done():
            refuse_in_event_loop("asyncio.wrap_future() makes this future awaitable")
            refuse_inherited(driver)

    def cancel(self) -> bool:
        """Cancel the task; False if it has ended already."""
        driver, job = self._driver, self._job
        if not super().cancel():
            return False
        if driver is not None and job is not None:
            driver.request_cancel(job)
        return True

    def settle(self, job: Job) -> None:
        """Take over the outcome of our job. For the driver."""
        self._driver = self._job = None
        try:
            if job.cancelled:
                super().cancel()
                self.set_running_or_notify_cancel()
            elif job.exception is None:
                self.set_result(job.result)
            else:
                self._unretrieved = None if job.stopped else job.exception
                self.set_exception(job.exception)
        except concurrent.futures.InvalidStateError:
            self._unretrieved = None
            if self.cancelled():
                self.set_running_or_notify_cancel()  # tells concurrent.futures.wait()
