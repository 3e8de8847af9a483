"""A coroutine that sync code waits for, canceled with the coroutine that has called that code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core.base.coroutines import name_after

from .present import inner_tasks

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

__all__ = ["cancel_with_caller"]

T = TypeVar("T")


def cancel_with_caller(coro: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """The coroutine in another that puts its task where asgiref looks for whom to cancel."""
    tasks = inner_tasks()
    return coro if tasks is None else name_after(coro, _Listed(coro, tasks).run())


class _Listed:
    """Runs a coroutine whose task is on asgiref's list. Lives as long as that."""

    def __init__(self, coro: Coroutine[Any, Any, Any], tasks: list[Any]) -> None:
        self._coro = coro
        self._tasks = tasks

    async def run(self) -> Any:
        task = asyncio.current_task()
        entry = None if task is None else _CancelledOnce(task)
        if entry is None:
            return await self._coro
        self._tasks.append(entry)
        try:
            return await self._coro
        finally:
            self._tasks.remove(entry)


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
