"""Running one coroutine for a thread that waits for it: what `AsyncioLoopManager.run()` does."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from sys import modules
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .checks import check_timeout
from .contexts import copy_changes
from .deadlines import deadline, time_left, within
from .jobs import NEW, Job
from .sync_calls import SyncCalls, current_calls
from .thread_sensitive import asgiref_sync, inner_tasks, origin, serve_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from .driver import Driver

__all__ = ["close_unstarted", "name_after", "run_on", "serve_sync_calls"]

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
        calls_back: This thread runs sync code for a coroutine on the same loop. Where it is not
            known, it is found out.

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
            if calls_back or (calls.outer is not None and origin() is driver.loop.raw):
                job.calls_back = True
                job.coro = _end_with_caller(coro)
            if calls.background is not None:
                calls.end_wait = calls.begin_wait(job)
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
            if job.coro is not coro:
                close_unstarted(job.coro)
                close_unstarted(coro)
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


def close_unstarted(awaitable: object) -> None:
    """Close a coroutine that nobody has begun, or a warning that it was never awaited would follow.

    One that has been left behind, its time over, is stepped by another thread.
    """
    if (
        type(awaitable) is CoroutineType
        and inspect.getcoroutinestate(cast("Coroutine[Any, Any, Any]", awaitable))
        == inspect.CORO_CREATED
    ):
        awaitable.close()


def name_after(awaitable: object, coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Have the log and errors call a coroutine what they would call the awaitable in it."""
    setattr(coro, "__qualname__", getattr(awaitable, "__qualname__", None) or repr(awaitable))  # noqa: B010 - mypy knows no such attribute
    return coro


def _end_with_caller(coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Have a coroutine cancelled with the one whose sync function, on this thread, waits for it."""
    tasks = inner_tasks()
    return coro if tasks is None else name_after(coro, _listed(coro, tasks))


async def _listed(coro: Coroutine[Any, Any, T], tasks: list[Any]) -> T:
    """Run it; meanwhile its task is where asgiref looks for whom to cancel."""
    task = asyncio.current_task()
    entry = None if task is None else _CancelledOnce(task)
    if entry is None:
        return await coro
    tasks.append(entry)
    try:
        return await coro
    finally:
        tasks.remove(entry)


class _CancelledOnce:
    """A task, for who cancels it with its caller's coroutine. Lives as long as the task runs.

    A deadline cancels both; coming twice it would interrupt the task's cleanup.
    """

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def cancel(self) -> bool:
        return not self._task.cancelling() and self._task.cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._task.__await__()


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
