"""Finding a manager by id, in the current thread and in the threads that it descends from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_async.core.base import threads
from wsgi_async.core.base.forks import notice_fork
from wsgi_async.core.messages.errors import ManagerNotFound

from .manager import AsyncioLoopManager, lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["find_manager", "get_or_create_loop_manager"]


def get_or_create_loop_manager(
    id: Hashable = None,
    force_create: bool = False,
    strictly_get: bool = False,
    **options: Any,
) -> AsyncioLoopManager:
    """Find the manager with an id, or make one for the current thread.

    Looks in the current thread, then in the thread that started it, and so on to the root. A
    manager whose loop lives on another thread of a `LoopThreadPoolExecutor` is passed over: that
    thread may be busy, so this one gets a manager of its own. From any thread.

    Args:
        id: Any hashable.
        force_create: Always make a new one for the current thread. The manager that it replaces is
            still stopped when the thread ends.
        strictly_get: Never create a manager.
        **options: For a manager that is made: what `AsyncioLoopManager` takes by keyword.

    Returns:
        The manager; a new one is not started.

    Raises:
        ManagerNotFound: `strictly_get` is set, and there is no manager with this id.
        TypeError: Both flags are set, or the id is not hashable.
    """
    if force_create and strictly_get:
        raise TypeError("force_create and strictly_get cannot be combined. Set one of them.")
    hash(id)
    notice_fork()
    found = None if force_create else find_manager(id)
    if found is not None:
        return found
    if strictly_get:
        raise ManagerNotFound(id)
    manager = AsyncioLoopManager(id, **options)
    threads.current_node().found[id] = manager
    return manager


def find_manager(id: Hashable) -> AsyncioLoopManager | None:
    """The nearest manager with this id that the current thread can use."""
    here = threads.current_node()
    with threads.lock():
        line = list(here.line())
    # Without the lock, because the look-up compares users' ids, which runs user code.
    for node in line:
        manager: AsyncioLoopManager | None = node.found.get(id)
        if manager is None or node.ended or manager.state not in _USABLE:
            continue
        if lifecycle_of(manager).usable_here:
            return manager
    return None


_USABLE = ("new", "starting", "running")
