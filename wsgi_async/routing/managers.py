"""The process's manager, and tasks that do not see their caller's context."""

from __future__ import annotations

import contextvars
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_async.core import AsyncioLoopManager
from wsgi_async.core.base.forks import notice_fork
from wsgi_async.core.base.log import origin
from wsgi_async.core.base.primitives import new_mutex
from wsgi_async.core.jobs import bridge
from wsgi_async.core.managers.current import request_manager, start_once

if TYPE_CHECKING:
    from collections.abc import Coroutine, Hashable

    from wsgi_async.core import SyncFuture

__all__ = ["process_manager", "process_managers", "submit_alone"]

T = TypeVar("T")


def submit_alone(
    manager: AsyncioLoopManager, coro: Coroutine[Any, Any, T], *, task_type: Hashable = None
) -> SyncFuture[T]:
    """As `manager.submit_task()`, but in a new context, in which the manager is the current one.

    The coroutine does not see the caller's context variables. A queue's worker would not have them
    either. The log still names the request that has submitted it.
    """
    context = contextvars.Context()
    context.run(origin.set, origin.get())
    bridge.look()
    if bridge.active is not None:
        bridge.active.submitted(context)
    context.run(request_manager.set, weakref.ref(manager))
    return context.run(manager.submit_task, coro, task_type=task_type)


class _ProcessManagers:
    """The managers that all threads of the process share. Lives as long as the process.

    A forked child finds that its parent's managers are not running, and makes its own.
    """

    def __init__(self) -> None:
        self._managers: dict[Hashable, AsyncioLoopManager] = {}  # guarded by the lock
        self._lock = new_mutex()  # not held while a manager is started
        if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = new_mutex()  # another thread may have held it at the fork

    def find(
        self, key: Hashable, id: Hashable, task_type: Hashable = None, **settings: Any
    ) -> AsyncioLoopManager:
        """The running manager of this key; a new one is made with the other arguments."""
        notice_fork()
        with self._lock:
            manager = self._managers.get(key)
            if manager is None or manager.state not in ("new", "starting", "running"):
                manager = self._managers[key] = AsyncioLoopManager(
                    id, creator_thread=threading.main_thread(), **settings
                )
        return start_once(manager, task_type)


process_managers = _ProcessManagers()

_ID = "wsgi_async.process"


def process_manager() -> AsyncioLoopManager:
    """The manager that the route `"process"` uses, running. From any thread.

    Each process creates it on first use, also after a fork. It is stopped when the process exits.

    Raises:
        RuntimeError, OSError: The manager cannot be started.
    """
    return process_managers.find(_ID, _ID)
