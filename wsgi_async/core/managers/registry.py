"""Finding a manager by id, in the current thread and in those that led to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import lineage
from .errors import ManagerNotFound
from .forks import notice_fork
from .manager import AsyncioLoopManager

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["get_or_create_loop_manager"]


def get_or_create_loop_manager(
    id: Hashable = None,
    force_create: bool = False,
    strictly_get: bool = False,
    **options: Any,
) -> AsyncioLoopManager:
    """Find the manager of an id, or make one for the current thread.

    Looks in the current thread, then in the thread that started it, and so on to the root. From
    any thread.

    Args:
        id: Any hashable.
        force_create: Always make a new one for the current thread. One that it takes the place
            of is still stopped with the thread.
        strictly_get: Never make one.
        **options: For a manager that is made: what `AsyncioLoopManager` takes by keyword.

    Returns:
        The manager; a new one is not started.

    Raises:
        ManagerNotFound: There is none, with `strictly_get`.
        TypeError: Both flags are set, or the id is not hashable.
    """
    if force_create and strictly_get:
        raise TypeError("force_create and strictly_get exclude each other. Set one of them.")
    hash(id)
    notice_fork()
    node = lineage.current_node()
    # One lock for look-up and making: of two threads that share a lineage, only one makes it.
    with lineage.lock():
        found = None if force_create else _find(node, id)
        if found is not None:
            return found
        if strictly_get:
            raise ManagerNotFound(id)
        manager = AsyncioLoopManager(id, **options)
        node.found[id] = manager
        return manager


def _find(node: lineage.ThreadNode, id: Hashable) -> AsyncioLoopManager | None:
    for ancestor in node.line():
        manager: AsyncioLoopManager | None = ancestor.found.get(id)
        if manager is not None and not ancestor.ended and manager.state in ("new", "running"):
            return manager
    return None
