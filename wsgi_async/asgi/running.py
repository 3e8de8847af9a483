"""The manager of a running loop."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import TYPE_CHECKING, Any

from wsgi_async.core.managers.manager import lifecycle_of
from wsgi_async.core.managers.registry import get_or_create_loop_manager

if TYPE_CHECKING:
    from collections.abc import Hashable

    from wsgi_async.core import AsyncioLoopManager

__all__ = ["RunningLoop"]


class RunningLoop:
    """One manager for each loop that asks for it. Lives as long as the middleware.

    Only used on a loop. A process may have several loops, each on its own thread.

    Args:
        id: The managers' id.
        task_type: The managers' task type.
        **options: The keyword arguments of `AsyncioLoopManager`.
    """

    def __init__(self, id: Hashable, task_type: Hashable, **options: Any) -> None:
        # Never changes:
        self._id = id
        self._task_type = task_type
        self._options = options
        # No lock: each loop sets and reads its own entry. A weak key must not be kept alive by its
        # value. A task always refers to its loop, a manager only until the loop is closed, so the
        # entry of a started manager is not a task.
        self._managers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncioLoopManager]
        self._managers = weakref.WeakKeyDictionary()
        self._starting: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    async def manager(self) -> AsyncioLoopManager:
        """The running loop's manager. The first call starts it.

        Raises:
            BaseException: `on_start` raised it. The next call tries again.
        """
        loop = asyncio.get_running_loop()
        while True:
            manager = self._managers.get(loop)
            if manager is not None and manager.running:
                return manager
            await asyncio.shield(self._starting.get(loop) or self._begin(loop))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        # In an empty context: on_start belongs to no request. Not made by a task factory: an eager
        # one would end the task before it is stored here.
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
            # First here: the default executor may be full of threads that wait for the stop.
            lifecycle_of(manager).request_stop()
            await asyncio.to_thread(manager.stop)
