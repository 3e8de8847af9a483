"""asgiref's notes on the current thread: the loop that called its code, and tasks to cancel."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.coroutines import name_after

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["asgiref_sync", "calling_loop", "cancel_with_caller", "forgetting_origin"]

T = TypeVar("T")


def asgiref_sync() -> Any:
    """The module `asgiref.sync`, which has been imported."""
    return sys.modules["asgiref.sync"]


def calling_loop() -> asyncio.AbstractEventLoop | None:
    """The loop whose `sync_to_async` has called the code on this thread, if any."""
    # Not getattr(): on a thread-local that lacks the name, it takes ten times as long.
    notes = asgiref_sync().SyncToAsync.threadlocal.__dict__
    loop: asyncio.AbstractEventLoop | None = notes.get("main_event_loop")
    if loop is not None and notes.get("main_event_loop_pid") != os.getpid():
        return None  # set before a fork: the loop belongs to the parent process
    return loop


def forgetting_origin(function: Callable[[], T]) -> T:
    """Run a function for which asgiref notes its origin in the thread; restore the notes after it.

    asgiref leaves its notes behind, because its own threads run nothing else. Our threads do.
    """
    local = asgiref_sync().SyncToAsync.threadlocal
    notes = local.__dict__
    before = notes.get("main_event_loop"), notes.get("task_context")
    try:
        return function()
    finally:
        local.main_event_loop, local.task_context = before


def cancel_with_caller(coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Wrap a coroutine so that it is canceled with the coroutine that called this code."""
    tasks = getattr(asgiref_sync().SyncToAsync.threadlocal, "task_context", None)
    return coro if tasks is None else name_after(coro, _listed(coro, tasks))


async def _listed(coro: Coroutine[Any, Any, T], tasks: list[Any]) -> T:
    """Run a coroutine with its task on asgiref's list."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"  # noqa: S101
    entry = _CancelledOnce(task)
    tasks.append(entry)
    try:
        return await coro
    finally:
        tasks.remove(entry)


class _CancelledOnce:
    """A task, for asgiref to cancel with its caller's coroutine. Lives as long as the task runs.

    A deadline cancels both. A second cancellation would interrupt the task's cleanup.
    """

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def cancel(self) -> bool:
        return not self._task.cancelling() and self._task.cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._task.__await__()
