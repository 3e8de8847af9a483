"""A coroutine that sync code waits for, canceled with the coroutine that has called that code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.coroutines import name_after

from .present import asgiref_sync

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

__all__ = ["cancel_with_caller"]

T = TypeVar("T")


def cancel_with_caller(coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """The coroutine in another that puts its task where asgiref looks for whom to cancel."""
    tasks = getattr(asgiref_sync().SyncToAsync.threadlocal, "task_context", None)
    return coro if tasks is None else name_after(coro, _listed(coro, tasks))


async def _listed(coro: Coroutine[Any, Any, T], tasks: list[Any]) -> T:
    """Run a coroutine whose task is on asgiref's list."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"  # noqa: S101
    entry = _CancelledOnce(task)
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
