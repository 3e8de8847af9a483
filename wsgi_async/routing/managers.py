"""The process's manager, and tasks that do not see their caller's context."""

from __future__ import annotations

import contextvars
import os
import threading
import weakref
from typing import TYPE_CHECKING, TypeVar

from wsgi_async.core import AsyncioLoopManager
from wsgi_async.core.base.forks import notice_fork
from wsgi_async.core.base.log import origin
from wsgi_async.core.jobs import bridge
from wsgi_async.core.managers.current import request_manager, start_once

if TYPE_CHECKING:
    from collections.abc import Coroutine, Hashable
    from typing import Any

    from wsgi_async.core import SyncFuture

__all__ = ["process_manager", "submit_alone"]

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


class _Process:
    """The manager of the route "process". Lives as long as the process.

    A forked child finds that its parent's manager is not running, and makes its own.
    """

    def __init__(self) -> None:
        self._manager: AsyncioLoopManager | None = None  # guarded by the lock
        self._lock = threading.Lock()  # not held while a manager is started
        if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it at the fork

    def find(self) -> AsyncioLoopManager:
        notice_fork()
        with self._lock:
            manager = self._manager
            if manager is None or manager.state not in ("new", "starting", "running"):
                manager = self._manager = AsyncioLoopManager(
                    "wsgi_async.process", creator_thread=threading.main_thread()
                )
        return start_once(manager)


_process = _Process()


def process_manager() -> AsyncioLoopManager:
    """The manager that the route `"process"` uses, running. From any thread.

    Each process creates it on first use, also after a fork. It is stopped when the process exits.

    Raises:
        RuntimeError, OSError: The manager cannot be started.
    """
    return _process.find()
