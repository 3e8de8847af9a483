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
        # No lock: each loop sets and reads its own entry.
        self._starting: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, asyncio.Future[AsyncioLoopManager]
        ] = weakref.WeakKeyDictionary()

    async def manager(self) -> AsyncioLoopManager:
        """The running loop's, started at the first call.

        Raises:
            BaseException: What `on_start` raised. The next call tries again.
        """
        loop = asyncio.get_running_loop()
        while True:
            starting = self._starting.get(loop)
            if starting is None:
                # In an empty context: on_start belongs to no request. Not by a task factory: an
                # eager one would have it fail before we hold it.
                starting = self._starting[loop] = asyncio.Task(
                    self._start(), loop=loop, context=contextvars.Context(), name="start"
                )
            manager = await asyncio.shield(starting)
            if manager.running:
                return manager
            if self._starting.get(loop) is starting:
                del self._starting[loop]

    async def _start(self) -> AsyncioLoopManager:
        manager = get_or_create_loop_manager(self._id, True, **self._options)
        try:
            await manager.start_on_running_loop(self._task_type)
        except BaseException:
            self._starting.pop(asyncio.get_running_loop(), None)  # a stop() may have taken it
            raise
        return manager

    async def stop(self) -> None:
        """Stop the running loop's manager, if there is one."""
        starting = self._starting.pop(asyncio.get_running_loop(), None)
        if starting is not None:
            manager = await starting
            await asyncio.to_thread(manager.stop)
