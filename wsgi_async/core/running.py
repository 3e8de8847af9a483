"""Running one coroutine for a thread that waits for it: what `AsyncioLoopManager.run()` does."""

from __future__ import annotations

import asyncio
import contextvars
from sys import modules
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .checks import check_timeout
from .contexts import copy_changes
from .deadlines import deadline, time_left, within
from .jobs import NEW, Job
from .sync_calls import SyncCalls, current_calls
from .thread_sensitive import asgiref_sync, serve_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .driver import Driver

__all__ = ["run_on", "serve_sync_calls"]

T = TypeVar("T")


def run_on(  # noqa: C901, PLR0912 - in one piece, as each call pays for a second
    driver: Driver,
    coro: Coroutine[Any, Any, T],
    *,
    timeout: float | None = None,
    context: contextvars.Context | None = None,
    copy_back: bool = True,
    calls_back: bool = False,
) -> T:
    """Run a coroutine to its end on a driver's loop; return its result or raise what it raised.

    From any thread that runs no event loop.

    Args:
        driver: Whose loop it runs on.
        coro: The coroutine. If it is not taken, it is closed.
        timeout: Seconds; see `AsyncioLoopManager.run()`, as for the next two.
        context: The context that it runs in.
        copy_back: Whether the caller sees the context variables that it set.
        calls_back: This thread runs sync code for a coroutine on the same loop.

    Raises:
        Closing: The manager is being stopped.
        TimeoutError: The time was over.
        BaseException: What the coroutine raised.
    """
    calls: SyncCalls | None = None
    outside: contextvars.Token[SyncCalls | None] | None = None
    try:
        seconds = None if timeout is None else check_timeout(timeout)
        if deadline.get() is not None:
            seconds = time_left(seconds)
        if "asgiref.sync" in modules and (driver.serves_sync_calls or serve_sync_calls(driver)):
            calls = SyncCalls(driver, current_calls.get())
            outside = current_calls.set(calls)
            if context is not None:
                context.run(current_calls.set, calls)  # left there: once closed, it refers to us
        before = None if context is None else context.copy()
        job = Job(coro, contextvars.copy_context() if context is None else context)
    except BaseException:
        coro.close()
        if outside is not None:
            current_calls.reset(outside)
            cast("SyncCalls", calls).close()
        raise
    # From here on in one try: an interrupted main thread must not leave `calls` open behind it.
    try:
        if context is not None:
            job.foreign_context = True
        if calls is not None:
            job.calls, calls.job = calls, job
            if calls_back:
                job.calls_back = True
        driver.caller.execute(job, seconds)
    except BaseException:
        if job.state is NEW:
            coro.close()  # refused, or a signal handler raised before anybody had seen it
        raise
    finally:
        # With nothing in it but ours, there is nothing to copy.
        if copy_back and len(job.context) > (calls is not None):
            copy_changes(job.context, before)
        if outside is not None:
            current_calls.reset(outside)
            cast("SyncCalls", calls).close()
    if job.exception is not None or job.expired:
        _raise(job, within(timeout, seconds))
    return job.result  # type: ignore[no-any-return]


def serve_sync_calls(driver: Driver) -> bool:
    """Have asgiref ask the threads that wait for work on this loop; False if it is not there."""
    if asgiref_sync() is None:
        return False
    driver.serves_sync_calls = True
    serve_loop(driver.loop.raw)
    return True


def _raise(job: Job, limit: str) -> None:
    error = job.exception
    try:
        if job.expired and not job.stopped and _is_ordinary(error):
            cause = None if job.cancelled else error
            raise TimeoutError(
                f"{job.name} did not end {limit} and was cancelled. "
                "Give it more time, or submit_task() what may go on."
            ) from cause
        if error is not None:
            raise error
    finally:
        job.exception = None
        del error, job  # the traceback holds this frame: no cycle


def _is_ordinary(error: BaseException | None) -> bool:
    return error is None or isinstance(error, (Exception, asyncio.CancelledError))
