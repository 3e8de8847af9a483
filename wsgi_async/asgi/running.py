"""The manager of a running loop."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import TYPE_CHECKING, Any

from wsgi_async.core.managers.registry import get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Hashable

    from wsgi_async.core import AsyncioLoopManager

__all__ = ["RunningLoop"]


class RunningLoop:
    """One manager for each loop that asks for it. Lives as long as the middleware.

    On a loop only; a process may have several, each on a thread of its own.

    Args:
        id: The managers' id.
        task_type: What they are started with.
        **options: What `AsyncioLoopManager` takes.
    """

    def __init__(self, id: Hashable, task_type: Hashable, **options: Any) -> None:
        # Never changes:
        self._id = id
        self._task_type = task_type
        self._options = options
        # No lock: each loop sets and reads its own entry. A task leads to its loop, and a manager
        # does until the loop is closed: what has been started must not be kept as a task.
        self._managers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncioLoopManager]
        self._managers = weakref.WeakKeyDictionary()
        self._starting: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    async def manager(self) -> AsyncioLoopManager:
        """The running loop's, started at the first call.

        Raises:
            BaseException: What `on_start` raised. The next call tries again.
        """
        loop = asyncio.get_running_loop()
        while True:
            manager = self._managers.get(loop)
            if manager is not None and manager.running:
                return manager
            await asyncio.shield(self._starting.get(loop) or self._begin(loop))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        # In an empty context: on_start belongs to no request. Not by a task factory: an eager one
        # would have it end before we hold it.
        starting = self._starting[loop] = asyncio.Task(
            self._start(loop), loop=loop, context=contextvars.Context(), name="start"
        )
        return starting

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            manager = get_or_create_loop_manager(self._id, True, **self._options)
            await manager.start_on_running_loop(self._task_type)
            self._managers[loop] = manager
        finally:
            del self._starting[loop]

    async def stop(self) -> None:
        """Stop the running loop's manager, if there is one."""
        loop = asyncio.get_running_loop()
        if loop in self._starting:
            await self._starting[loop]
        manager = self._managers.pop(loop, None)
        if manager is not None:
            await asyncio.to_thread(manager.stop)
