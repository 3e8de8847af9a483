"""Running one coroutine for a thread that waits for it: what `AsyncioLoopManager.run()` does."""

from __future__ import annotations

import contextvars
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from wsgi_async.core.base.coroutines import close_refused, is_ordinary, need_stack
from wsgi_async.core.base.deadlines import Deadline, request_deadline, time_left, within
from wsgi_async.core.jobs import bridge
from wsgi_async.core.jobs.calling_thread import AskedFunction
from wsgi_async.core.jobs.contexts import copy_changes
from wsgi_async.core.jobs.job import Job, current_caller
from wsgi_async.core.jobs.wait import finish_inbox, wait_for
from wsgi_async.core.messages.errors import Closing, TaskCancelledError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from wsgi_async.core.base.primitives import Wakeup

    from .runner import Runner

__all__ = ["complete", "run"]

T = TypeVar("T")


def run(
    runner: Runner,
    coro: Coroutine[Any, Any, T],
    timeout: float | None = None,
    context: contextvars.Context | None = None,
    *,
    copy_back: bool = True,
) -> T:
    """Run a coroutine to its end on a runner's loop; return its result or raise what it raised.

    From any thread that runs no event loop.

    Args:
        runner: Runs the loop.
        coro: The coroutine. It is closed if it is not accepted.
        timeout: Seconds; see `AsyncioLoopManager.run()`, also for the next two.
        context: The context that it runs in.
        copy_back: Whether the caller sees the context variables that it set.

    Raises:
        Closing: The manager is being stopped.
        TimeoutError: The time has passed.
        BaseException: What the coroutine raised.
    """
    seconds = before = None
    try:
        need_stack()
        if timeout is not None or request_deadline.get() is not None:
            seconds = time_left(timeout)
        if context is not None:
            before = context.copy()
        own = contextvars.copy_context() if context is None else context
        outer = current_caller.get()
        job = Job(coro, own, outer)
        own.run(current_caller.set, job)
        inner = bridge.active is not None and _tell(bridge.active, runner, job)
    except BaseException:
        close_refused(coro)
        raise
    if context is not None:
        job.foreign_context = True
    try:
        # A thread that the function has started may have its context, but is not canceled with it.
        if isinstance(outer, AskedFunction) and outer.thread == threading.get_ident():
            _complete_for(outer, runner, job, seconds)
        else:
            complete(runner, job, seconds)
    except Closing:
        job.discard()  # closes a plug-in's wrapper around the caller's coroutine
        raise
    finally:
        if copy_back and len(own) > 1:  # with only our own variable there is nothing to copy
            copy_changes(own, before, inner=inner)
    if job.exception is None and not job.expired:
        result, job.result = job.result, None  # the loop may hold the job a little longer
        return result  # type: ignore[no-any-return]
    try:
        return _fail(job, timeout, seconds)
    finally:
        del job, outer  # the traceback holds this frame: no cycle


def _tell(plugin: bridge.Bridge, runner: Runner, job: Job) -> bool:
    """Tell the plug-in of a new job.

    Returns:
        Whether this thread runs sync code that a coroutine on the very same loop has called.
    """
    inner = plugin.calling_loop() is runner.live.raw
    if inner:
        job.quiet = True
        job.coro = plugin.cancel_with_caller(job.coro)
    if plugin.thread_inbox() is not None:
        plugin.submitted(job.context)  # tasks that it leaves behind find this thread too
    return inner


def _complete_for(function: AskedFunction, runner: Runner, job: Job, seconds: float | None) -> None:
    """As `complete()`, in a function that a coroutine has asked for: both are canceled together."""
    job.quiet = True
    with function.waiting(partial(runner.live.request_cancel, job)):
        complete(runner, job, seconds)


def complete(runner: Runner, job: Job, seconds: float | None) -> None:
    """Submit a job and wait for it. Cancel it if the time passes or the wait is interrupted.

    Args:
        runner: Runs the loop.
        job: A new job. Afterwards it is done, or released.
        seconds: How long to wait; None without a limit.

    Raises:
        Closing: The manager is being stopped; the job was not accepted.
        BaseException: What a signal handler raised in the waiting main thread.
    """
    job.wakeup = wakeup = runner.wakeup()
    job.waiter = runner.live.primitives.current()
    if seconds is not None:
        job.deadline = Deadline(seconds)
    try:
        runner.begin(job)
        if not wait_for(job, wakeup, job.deadline):
            _give_up(runner, job, wakeup)
    except Closing:
        raise  # the job was not accepted, so there is nothing to wait for
    except BaseException:
        if not job.done:
            _give_up(runner, job, wakeup, interrupted=True)
        raise
    finally:
        try:
            if job.inbox is not None:
                finish_inbox(job.inbox)
        finally:
            wakeup.end()


def _give_up(runner: Runner, job: Job, wakeup: Wakeup, *, interrupted: bool = False) -> None:
    """Cancel a job whose thread cannot wait any longer, and wait for its cleanup up to the grace.

    Args:
        runner: Runs the loop.
        job: The job.
        wakeup: The thread's wake-up.
        interrupted: An exception has interrupted the wait. Else the time has passed, and the loop
            may have canceled the job already: a second time would interrupt its cleanup.
    """
    live = runner.live
    if live.inherited:
        return  # the waiting thread has forked, and this is the child
    with live.mutex:
        if job.done:
            return  # it ended just now
        expired, job.expired = job.expired, True
    if interrupted or not expired:
        live.request_cancel(job)
    try:
        over = wait_for(job, wakeup, Deadline(live.grace))
    except BaseException:
        if interrupted:  # twice by now: no thread will run the functions that it asks for
            with live.mutex:
                job.released = not job.done
        raise
    if not over:
        live.release(job)


def _fail(job: Job, timeout: float | None, seconds: float | None) -> NoReturn:
    """Raise the error of a job that has failed, or that has not ended in time."""
    error = job.exception
    try:
        # A job without an outcome has run out of time, even if a stop ends it from now on.
        if error is None or (job.expired and not job.stopped and is_ordinary(error)):
            canceled = job.cut_off or job.cancelled or not job.done
            what = "did not end" if canceled else "ended, but not"
            raise WaitTimeoutError(
                f"{job.name} {what} {within(timeout, seconds)}{' and was canceled' * canceled}. "
                "Give it more time, or use submit_task() for work in the background."
            ) from (None if job.cancelled else error)
        if job.cancelled:
            raise _cancelled_error(error) from error.__cause__
        raise error
    finally:
        job.exception = None
        del error, job  # the traceback holds this frame: avoid a cycle


def _cancelled_error(error: BaseException) -> BaseException:
    if isinstance(error, TaskCancelledError):
        return error
    return TaskCancelledError(*error.args).with_traceback(error.__traceback__)
